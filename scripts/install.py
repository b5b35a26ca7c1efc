#!/usr/bin/env python3
"""Copies the built programs, with the libraries that they load, into a tree that may be moved anywhere.

    install.py --build .build/release --prefix /usr/local [--destdir DIR] PROGRAM…

    PREFIX/bin/PROGRAM                 finds its libraries through $ORIGIN/../lib/insightface, and only there
    PREFIX/lib/insightface/*.so        what of LibTorch, CUDA and the Swift runtime the programs load
    PREFIX/share/doc/insightface/      licences

Which libraries: those that the loader finds through the RUNPATHs of the programs and, from there on, of the libraries
themselves. What it finds in the system's own folders (glibc, libstdc++, libturbojpeg, libpng) stays the system's.
"""

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

RUNPATH = "$ORIGIN/../lib/insightface"
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 14, 15, 29
SHT_DYNSYM = 11

# The driver's own: they come with the GPU, not with a tree.
DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}


class Failure(Exception):
    pass


class ELF:
    """As much of a 64-bit little-endian ELF file as it takes to follow and to change its RUNPATH."""

    def __init__(self, path):
        self.path = Path(path)
        self.data = self.path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise Failure(f"{path} is no 64-bit little-endian ELF file")
        program_at, section_at = struct.unpack_from("<QQ", self.data, 32)
        size, count, section_size, sections = struct.unpack_from("<HHHH", self.data, 54)
        self.segments = [struct.unpack_from("<IIQQQQQQ", self.data, program_at + i * size) for i in range(count)]
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, section_at + i * section_size) for i in range(sections)]
        self.dynamic = []
        for kind, _, offset, _, _, length, _, _ in self.segments:
            if kind == PT_DYNAMIC:
                self.dynamic = list(struct.iter_unpack("<qQ", self.data[offset : offset + length]))
        self.strings = next((self.offset(value) for tag, value in self.dynamic if tag == DT_STRTAB), None)

    def offset(self, address):
        for kind, _, offset, start, _, length, _, _ in self.segments:
            if kind == PT_LOAD and start <= address < start + length:
                return offset + address - start
        raise Failure(f"{self.path}: address {address:#x} lies in no segment")

    def string(self, at):
        begin = self.strings + at
        return self.data[begin : self.data.index(b"\0", begin)].decode()

    def all(self, *tags):
        return [self.string(value) for tag, value in self.dynamic if tag in tags]

    def needed(self):
        return self.all(DT_NEEDED)

    def runpath(self):
        return [folder for entry in self.all(DT_RUNPATH, DT_RPATH) for folder in entry.split(":") if folder]

    def with_runpath(self, text):
        """The file's bytes with another RUNPATH, which has to fit where the old one is."""
        places = [value for tag, value in self.dynamic if tag in (DT_RUNPATH, DT_RPATH)]
        if len(places) != 1:
            raise Failure(f"{self.path} has {len(places)} RUNPATHs where one was expected")
        at, old = places[0], self.string(places[0])
        if len(text) > len(old):
            raise Failure(f"{self.path}: the RUNPATH '{old}' leaves no room for '{text}'")
        # A linker may let other names end inside this string.
        users = [value for tag, value in self.dynamic if tag in (DT_NEEDED, DT_SONAME)]
        for section in self.sections:
            if section[1] == SHT_DYNSYM:
                table = self.data[section[4] : section[4] + section[5]]
                users += [entry[0] for entry in struct.iter_unpack("<IBBHQQ", table)]
        if any(at < user < at + len(old) for user in users):
            raise Failure(f"{self.path}: another name shares the bytes of its RUNPATH")
        begin = self.strings + at
        return self.data[:begin] + text.encode().ljust(len(old), b"\0") + self.data[begin + len(old) :]


def libraries_of(programs):
    """Every library that is found through a RUNPATH, by the name it is asked for; those that CUDA loads by name alone, when it
    runs; and the names left to the system."""
    found, system, seen, queue = {}, set(), set(), [Path(p) for p in programs]
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        elf = ELF(file)
        origin = str(file.parent)
        folders = [Path(os.path.normpath(f.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))) for f in elf.runpath()]
        for name in elf.needed():
            place = next((f / name for f in folders if (f / name).exists()), found.get(name))
            if place is None:
                system.add(name)
            elif name not in found:
                found[name] = place
                queue.append(place)
        if file.name == "libtorch_cpu.so":
            # Its half for CUDA is loaded when the program runs, and is named by no library.
            for pattern in ("libtorch_cuda*.so", "libc10_cuda.so", "libcaffe2_nvrtc.so", "libtorch_nvshmem.so"):
                for part in file.parent.glob(pattern):
                    found.setdefault(part.name, part)
                    queue.append(part)
    loose = {}
    if "libtorch_cuda.so" in found:
        for part in found["libtorch_cuda.so"].parents[2].glob("nvidia/*/lib/*.so*"):
            if part.name not in found:
                loose[part.name] = part
    return found, loose, system - set(found) - DRIVER


def write(path, data, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    os.replace(temporary, path)


def check(files, home):
    """Lets the loader itself find everything, with nothing in the environment that helps it."""
    for file in files:
        result = subprocess.run(
            ["ldd", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
        )
        missing = set(re.findall(r"(\S+) => not found", result.stdout)) - DRIVER
        if missing:
            raise Failure(f"{file}: the loader does not find {', '.join(sorted(missing))}")
        for name, place in re.findall(r"(\S+) => (/.+) \(0x", result.stdout):
            own = home / "lib/insightface" / name
            if own.exists() and not os.path.samefile(place, own):
                raise Failure(f"{file} takes {name} from {place} instead of the installed tree")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--destdir", default="")
    parser.add_argument("programs", nargs="+")
    options = parser.parse_args()
    if not options.prefix.is_absolute():
        raise Failure(f"PREFIX is '{options.prefix}'; it must be an absolute path")
    home = Path(options.destdir + str(options.prefix)) if options.destdir else options.prefix
    programs = [options.build.resolve() / p for p in options.programs if (options.build / p).exists()]
    if not programs:
        raise Failure(f"none of {', '.join(options.programs)} is in {options.build}; run `make build` first")
    libraries, loose, system = libraries_of(programs)
    root = Path(__file__).resolve().parent.parent
    # Loaded when an ONNX file needs it, and named by no program.
    loose.update({part.name: part for part in (root / ".openvino/libs").glob("*.so*")})

    # The folder of libraries is the installation's own: filled beside the old one, then put in its place.
    final, fresh, old = (home / "lib" / n for n in ("insightface", ".insightface.new", ".insightface.old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, place in [*libraries.items(), *loose.items()]:
        shutil.copyfile(place, fresh / name)
        (fresh / name).chmod(0o755)
    if final.exists():
        os.rename(final, old)
    os.rename(fresh, final)
    shutil.rmtree(old, ignore_errors=True)
    for program in programs:
        write(home / "bin" / program.name, ELF(program).with_runpath(RUNPATH), 0o755)

    documents = home / "share/doc/insightface"
    write(documents / "LICENSE", (root / "LICENSE").read_bytes(), 0o644)
    torch = libraries.get("libtorch_cpu.so")
    if torch:
        for information in sorted(torch.resolve().parents[2].glob("*.dist-info")):
            for licence in information.rglob("*"):
                if licence.is_file() and licence.name != "METADATA":
                    target = documents / "third-party" / information.name.split("-")[0] / licence.relative_to(information)
                    write(target, licence.read_bytes(), 0o644)

    for licence in (root / ".openvino/licenses").glob("*"):
        if licence.name != "METADATA":
            write(documents / "third-party/openvino" / licence.name, licence.read_bytes(), 0o644)

    installed = [home / "bin" / p.name for p in programs]
    check(installed + [final / name for name in sorted(libraries)], home)
    size = sum(f.stat().st_size for f in installed + list(final.iterdir())) / 1e6
    count = len(libraries) + len(loose)
    print(f"installed {', '.join(p.name for p in programs)} and {count} libraries in {home} ({size:.0f} MB)")
    ordinary = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|util))\.so")
    print("from the system they load, beside those of C and C++: " + ", ".join(sorted(n for n in system if not ordinary.match(n))))


if __name__ == "__main__":
    try:
        main()
    except Failure as problem:
        sys.exit(f"install: error: {problem}")
    except PermissionError as problem:
        sys.exit(f"install: error: {problem.filename} cannot be written; choose another PREFIX or install as root")
    except OSError as problem:
        sys.exit(f"install: error: {problem}")
