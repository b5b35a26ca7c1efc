#!/usr/bin/env python3
"""Lays LibTorch down in .libtorch from the wheels that pip offers. Called by scripts/bootstrap; needs Python >= 3.9 with pip.

    wheels.py --root DIR --version 2.13.0 --variant cpu|cuda|auto-cuda [--machine x86_64]

The C++ parts of a wheel are the same for every Python, so wheels of any Python are taken, whatever Python runs this.

What a kill leaves behind is taken up by the next run: wheels that pip finished lie in .libtorch.download, and a tree that was
unpacked and checked lies in .libtorch.new and only waits to be renamed. Nothing under .libtorch is ever half written.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path

# Raised when what is kept of a wheel changes, so that trees of an earlier rule are laid down again.
RECIPE = 1

# Wheels for these Pythons are looked for, after the one that runs this.
PYTHONS = ["3.12", "3.11", "3.13", "3.10", "3.14"]

# Gigabytes that must be free: wheels, the tree unpacked from them, and a little air.
NEEDED_GIGABYTES = {"cpu": 1.4, "cuda": 8.0}

# Of torch/lib: Python's own and what is there for PyTorch's tests.
NEVER_KEPT = re.compile(
    r"lib(torch|torch_python|torch_global_deps|shm|aoti_custom_ops|backend_with_compiler|torchbind_test|jitbackend_test)\.so"
)
CUDA_ONLY = re.compile(r"lib(torch_cuda.*|torch_nvshmem|c10_cuda|caffe2_nvrtc)\.so")

# libtorch_cpu.so of a CUDA build links these two even where no GPU is: (part of the toolkit, its package, its library).
ALWAYS_LINKED = [("cudart", "nvidia-cuda-runtime", "libcudart.so"), ("cupti", "nvidia-cuda-cupti", "libcupti.so")]

# The driver's own; on a machine without one its absence is no fault of the tree.
DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}


class Failure(Exception):
    """Something the reader of the message can act upon."""


def say(text):
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


# -- pip ---------------------------------------------------------------------------------------------------------------


def platforms(machine, newest=28):
    """manylinux tags from the newest that the wheels use down to the oldest; pip does not imply the older ones itself."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)]
    return tags + [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"linux_{machine}"]


def pythons():
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return ([own] if sys.version_info >= (3, 10) else []) + [v for v in PYTHONS if v != own]


def die_with_parent():
    """A pip that outlives a killed bootstrap would go on downloading for nobody."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass


class Progress:
    """What pip is at, from its output and the size of the file that it writes: a line rewritten on a terminal, or one every
    ten seconds elsewhere."""

    def __init__(self, folder, log):
        self.folder, self.log = folder, log
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.terminal = sys.stderr.isatty()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def watch(self):
        begun, said, drawn = time.monotonic(), 0.0, False
        while not self.stopped.wait(0.5):
            match = None
            try:
                found = re.findall(r"(?:Downloading|Using cached) (\S+\.whl) \(([\d.]+) ([kMG])B\)", self.log.read_text("utf-8", "replace"))
                match = found[-1] if found else None
                done = sum(f.stat().st_size for f in self.folder.rglob("*.whl")) / 1e6
            except OSError:  # files come and go under pip
                continue
            if not match or match[2] == "k" or done == 0:
                continue
            total = float(match[1]) * (1000 if match[2] == "G" else 1)
            done = min(done, total)
            now = time.monotonic() - begun
            text = f"{match[0]}: {done:.0f} of {total:.0f} MB, {done / now:.1f} MB/s"
            if self.terminal:
                print(f"\r\033[Kbootstrap: {text}", end="", file=sys.stderr, flush=True)
                drawn = True
            elif now - said >= 10:
                said = now
                say(text)
        if drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Pip:
    def __init__(self, cache, machine, newest=28):
        self.cache, self.machine, self.newest = cache, machine, newest
        self.last = ""
        configured = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout
        # Folders of wheels are asked first and alone, so that no network is needed where they hold what is wanted.
        self.has_folders = bool(re.search(r"find-links\s*=\s*'?[^'\s]", configured.replace("_", "-")))

    def fetch(self, requirement, versions, local=False):
        """The wheel of `requirement`, downloaded into the cache; None where pip offers none."""
        for version in versions:
            temporary = self.cache / f"tmp-{os.getpid()}"
            shutil.rmtree(temporary, ignore_errors=True)
            (temporary / "wheels").mkdir(parents=True)
            log = temporary / "pip.log"
            command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
            command += ["--progress-bar", "off", "--no-deps", "--only-binary", ":all:", "--dest", str(temporary / "wheels")]
            command += ["--implementation", "cp", "--python-version", version, "--abi", f"cp{version.replace('.', '')}"]
            command += ["--abi", "abi3", "--abi", "none"]
            for tag in platforms(self.machine, self.newest):
                command += ["--platform", tag]
            command += (["--no-index"] if local else []) + [requirement]
            environment = dict(os.environ, TMPDIR=str(temporary), PYTHONUNBUFFERED="1", PIP_REQUIRE_VIRTUALENV="0")
            with open(log, "wb") as output, Progress(temporary, log):
                status = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, preexec_fn=die_with_parent
                ).returncode
            self.last = log.read_text("utf-8", "replace")
            if status == 0:
                wheels = list((temporary / "wheels").glob("*.whl"))
                if len(wheels) != 1:
                    raise Failure(f"pip downloaded {len(wheels)} wheels for {requirement} where one was expected")
                # Renamed only now: a wheel in the cache is a whole wheel.
                final = self.cache / wheels[0].name
                os.replace(wheels[0], final)
                shutil.rmtree(temporary, ignore_errors=True)
                return final
            shutil.rmtree(temporary, ignore_errors=True)
            if "No matching distribution" not in self.last and "from versions:" not in self.last:
                raise Failure(f"pip could not download {requirement}; its last words:\n{self.tail()}")
            if not local and self.unreachable():
                raise Failure(
                    f"pip could not reach its index for {requirement}; its last words:\n{self.tail()}\n"
                    "Check the network, the proxy (HTTPS_PROXY) and the certificates (PIP_CERT), and run this again: what was "
                    "downloaded is kept.\nWithout a network: put the wheels into a folder and set PIP_FIND_LINKS to it "
                    "(docs/building.md)."
                )
        return None

    def unreachable(self):
        return bool(re.search(r"Could not fetch URL|Retrying \(Retry|ConnectionError|NewConnectionError|SSLError", self.last))

    def tail(self, lines=12):
        return "\n".join("    " + line for line in self.last.strip().splitlines()[-lines:])

    def find(self, name, versions):
        """The first of `versions` (pip's specifiers) of `name`: in folders of wheels, then from the index."""
        if self.has_folders:
            for version in versions:
                found = self.fetch(name + version, pythons(), local=True)
                if found:
                    return found
        for version in versions:
            # An index that has a version has it for every Python, so that one question is enough to know that it has not;
            # only the last version is asked for with every Python.
            found = self.fetch(name + version, pythons() if version == versions[-1] else PYTHONS[:1])
            if found:
                return found
        return None


# -- wheels ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(wheel):
    """A wheel as a zip archive; a damaged one is removed, so that the next run fetches it anew."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError) as problem:
        wheel.unlink()
        raise Failure(f"{wheel.name} is damaged ({problem}); it was removed. Run this again to download it anew.")


def metadata(wheel):
    with opened(wheel) as archive:
        name = next((n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)), None)
        if name is None:
            raise Failure(f"{wheel.name} holds no METADATA")
        return archive.read(name).decode("utf-8")


def requirements(text):
    """(name, extras asked for, version, marker) of each Requires-Dist."""
    found = []
    for line in re.findall(r"^Requires-Dist:\s*(.+?)\s*$", text, re.M):
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?$", line)
        if match:
            extras = [e.strip() for e in (match[2] or "").split(",") if e.strip()]
            found.append((match[1].lower().replace("_", "-"), extras, match[3].strip(), match[4] or ""))
    return found


def pinned(specifier):
    """One version out of a specifier: the one it names ("==13.0.96.*" as it stands), or the lowest that it allows."""
    exact = re.search(r"==\s*([\w.!+*-]+)", specifier) or re.search(r">=\s*([\w.!+-]+)", specifier)
    if not exact:
        raise Failure(f"no version can be read from '{specifier}' in a wheel's METADATA")
    return exact[1]


def for_extra(marker):
    match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
    return match[1] if match else None


def nvidia_wheels(pip, torch_metadata, variant):
    """NVIDIA's wheels that this build of torch asks for, at the versions that the METADATA of torch (and of cuda-toolkit, the
    package that only lists the parts of one CUDA release) names; for the CPU only the two that libtorch_cpu.so itself links."""
    wanted = {}

    def want(name, specifier):
        if variant == "cuda" or name in [package for _, package, _ in ALWAYS_LINKED]:
            wanted.setdefault(name, pinned(specifier))

    for name, extras, specifier, marker in requirements(torch_metadata):
        if for_extra(marker):
            continue
        if name.startswith("nvidia-"):
            want(name, specifier)
        elif name == "cuda-toolkit":
            toolkit = fetch_named(pip, name, pinned(specifier))
            for part, _, part_specifier, part_marker in requirements(metadata(toolkit)):
                if for_extra(part_marker) in extras and part.startswith("nvidia-"):
                    want(part, part_specifier)
    return [fetch_named(pip, name, version) for name, version in sorted(wanted.items())]


def fetch_named(pip, name, version):
    stem = f"{name.replace('-', '_')}-{version[:-2] if version.endswith('.*') else version}"
    cached = [w for tail in ("-*.whl", ".*.whl")[: 1 + version.endswith(".*")] for w in pip.cache.glob(stem + tail)]
    wheel = next(iter(sorted(cached)), None) or pip.find(name, [f"=={version}"])
    if wheel is None:
        raise Failure(f"pip offers no {name} {version} for {pip.machine}, which torch needs; its last words:\n{pip.tail()}")
    return wheel


def fetch_torch(pip, version, variant):
    plain, cpu = f"==={version}", f"=={version}+cpu"
    if variant == "cpu":
        wheel = None
        for pattern in (f"torch-{version}+cpu-*.whl", f"torch-{version}-*.whl", f"torch-{version}*.whl"):
            wheel = wheel or next(iter(sorted(pip.cache.glob(pattern))), None)
        wheel = wheel or pip.find("torch", [cpu, plain])
    else:
        # The plain wheel is a CUDA build; PyTorch's own indexes name it by its CUDA release.
        wheel = next(iter(sorted(w for w in pip.cache.glob(f"torch-{version}*.whl") if "+cpu" not in w.name)), None)
        wheel = wheel or pip.find("torch", [f"=={version}+cu130", plain])
    if wheel is None:
        raise Failure(
            f"pip offers no torch {version} for {pip.machine} (asked for Python {', '.join(pythons())}; "
            f"variant {variant}); its last words:\n{pip.tail()}"
        )
    return wheel


def kept(name, variant):
    """Whether the build needs this member of a wheel."""
    parts = name.split("/")
    if name.endswith("/") or "__pycache__" in parts or name.endswith((".py", ".pyi", ".a")) and name != "torch/version.py":
        return False
    if re.fullmatch(r"[^/]+\.dist-info", parts[0]):
        return parts[1] == "METADATA" or "licen" in name.lower() or "notice" in name.lower()
    if parts[0] == "torch.libs" or name == "torch/version.py":
        return True
    if parts[0] == "torch" and len(parts) > 2:
        if parts[1] == "include":
            return True
        if parts[1] == "lib" and len(parts) == 3 and ".so" in parts[2]:
            return not NEVER_KEPT.match(parts[2]) and (variant == "cuda" or not CUDA_ONLY.match(parts[2]))
        return False
    if parts[0] == "nvidia" and "lib" in parts and ".so" in parts[-1]:
        return variant == "cuda" or any(parts[-1].startswith(library) for _, _, library in ALWAYS_LINKED)
    # Headers of CUDA serve who compiles kernels against this tree.
    return parts[0] == "nvidia" and "include" in parts and variant == "cuda"


def unpack(wheel, folder, variant):
    base = folder.resolve()
    with opened(wheel) as archive:
        for member in archive.infolist():
            if not kept(member.filename, variant):
                continue
            target = (folder / member.filename).resolve()
            if base not in target.parents:
                raise Failure(f"{wheel.name} holds a member outside its own tree: {member.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 4 << 20)
            target.chmod((member.external_attr >> 16 & 0o777) | 0o644)


def unresolved(library):
    """What the loader does not find for `library`."""
    result = subprocess.run(
        ["ldd", str(library)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, LC_ALL="C")
    )
    if result.returncode != 0:
        raise Failure(f"ldd cannot read {library}:\n{result.stdout.strip()}")
    missing = re.findall(r"^\s*(\S+) => not found", result.stdout, re.M)
    # A glibc or libstdc++ too old for the wheel: "/lib/…/libm.so.6: version `GLIBC_2.28' not found (required by …)".
    return missing + re.findall(r"version `([^']+)' not found", result.stdout)


def check(tree, version, variant):
    text = (tree / "torch/version.py").read_text()
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", text)
    if not found or found[1].split("+")[0] != version:
        raise Failure(f"the wheel holds version {found[1] if found else '?'}, not {version}")
    libraries = ["libtorch_cpu.so"]
    if variant == "cuda":
        libraries += ["libtorch_cuda.so"]
        if not (tree / "torch/lib/libtorch_cuda.so").exists():
            raise Failure("the wheel that pip offers is no CUDA build (it holds no libtorch_cuda.so)")
        libraries += [n for n in ["libtorch_cuda_linalg.so"] if (tree / "torch/lib" / n).exists()]
    for name in libraries:
        missing = [m for m in unresolved(tree / "torch/lib" / name) if m not in DRIVER]
        if missing:
            raise Failure(f"{name} does not load on this machine; the loader does not find: {', '.join(sorted(set(missing)))}")
    return found[1]


# -- the tree ----------------------------------------------------------------------------------------------------------


def stamp_of(folder):
    try:
        lines = (folder / ".stamp").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def serves(stamp, version, variant):
    return (stamp.get("version"), stamp.get("variant"), stamp.get("recipe")) == (version, variant, str(RECIPE))


def put_in_place(root):
    final, fresh, old = root / ".libtorch", root / ".libtorch.new", root / ".libtorch.old"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.rename(final, old)
    os.rename(fresh, final)
    shutil.rmtree(old, ignore_errors=True)


def require_space(root, variant, cache):
    there = sum(f.stat().st_size for f in cache.glob("*.whl")) / 1e9
    needed = NEEDED_GIGABYTES[variant] - there
    free = shutil.disk_usage(root).free / 1e9
    if free < needed:
        raise Failure(f"{root}: {free:.1f} GB are free, about {needed:.1f} GB are needed to lay down LibTorch ({variant})")


def lay_down(root, version, variant, machine):
    cache, fresh = root / ".libtorch.download", root / ".libtorch.new"
    cache.mkdir(exist_ok=True)
    for stale in cache.glob("tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    if not serves(stamp_of(fresh), version, variant):
        shutil.rmtree(fresh, ignore_errors=True)
        require_space(root, variant, cache)
        pip = Pip(cache, machine)
        say(f"fetching LibTorch {version} for the {'CPU' if variant == 'cpu' else 'GPU (CUDA)'}, {machine}")
        torch = fetch_torch(pip, version, variant)
        wheels = [torch] + nvidia_wheels(pip, metadata(torch), variant)
        say("unpacking " + ", ".join(w.name for w in wheels))
        fresh.mkdir()
        for wheel in wheels:
            unpack(wheel, fresh, variant)
        built = check(fresh, version, variant) if machine == platform.machine() else version
        lines = [f"version {version}", f"variant {variant}", f"recipe {RECIPE}", f"build {built}"]
        lines += [f"wheel-{i} {w.name}" for i, w in enumerate(wheels)]
        unfinished = fresh / ".stamp.unfinished"
        unfinished.write_text("\n".join(lines) + "\n")
        os.replace(unfinished, fresh / ".stamp")
    put_in_place(root)
    shutil.rmtree(cache, ignore_errors=True)
    size = sum(f.stat().st_size for f in (root / ".libtorch").rglob("*") if f.is_file()) / 1e6
    say(f"LibTorch {stamp_of(root / '.libtorch').get('build')} is in .libtorch ({size:.0f} MB)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--variant", choices=["cpu", "cuda", "auto-cuda"], required=True)
    parser.add_argument("--machine", default=platform.machine())
    options = parser.parse_args()
    if sys.version_info < (3, 9):
        raise Failure(f"Python {platform.python_version()} is too old; 3.9 or later is needed to fetch the wheels")
    if options.machine not in ("x86_64", "aarch64"):
        raise Failure(f"there are no wheels of LibTorch for {options.machine}; set $LIBTORCH to a build of your own")
    # Two bootstraps at once: the second waits for the first and then finds its work done.
    lock = open(options.root / ".libtorch.lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another bootstrap is at work here; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    wanted = "cuda" if options.variant == "auto-cuda" else options.variant
    if serves(stamp_of(options.root / ".libtorch"), options.version, wanted):
        return
    try:
        lay_down(options.root, options.version, wanted, options.machine)
    except Failure as problem:
        if options.variant != "auto-cuda":
            raise
        say(f"{problem}")
        say("a GPU is here, but its libraries could not be had: taking LibTorch for the CPU. `scripts/bootstrap --cuda` tries again.")
        lay_down(options.root, options.version, "cpu", options.machine)


def program(body):
    """Runs a script's main function; what goes wrong is one line and an exit status."""
    try:
        body()
    except Failure as problem:
        say(f"error: {problem}")
        sys.exit(1)
    except OSError as problem:
        say(f"error: {problem}" + (" (the disk is full)" if problem.errno == 28 else ""))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        sys.exit(130)


if __name__ == "__main__":
    program(main)
