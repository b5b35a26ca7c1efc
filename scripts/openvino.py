#!/usr/bin/env python3
"""Lays OpenVINO down in .openvino from its wheel. Called by scripts/bootstrap --openvino; needs Python >= 3.9 with pip.

    openvino.py --root DIR [--machine x86_64]

Kept are the C interface, the reader of ONNX files and the plugin for the CPU, with what these load, and the licences. The wheel is
one certain file: its SHA-256 stands here. What a kill leaves behind is taken up by the next run, as in wheels.py.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
from pathlib import Path

from wheels import Failure, Pip, opened, program, say, unresolved

VERSION = "2026.4.1"
# The libraries are the same for every Python; the wheel of this one is taken.
PYTHON = "3.12"
HASHES = {
    "x86_64": "6b4375c17ddcac83a5180349e2e2bb811185c261066e2a920659892d58ef0e3b",
    "aarch64": "82efccb2f9f1bdc7e5a1996e05a3b719ebff9232dd54b44150d6d2e983a86b7d",
}
# Raised when what is kept changes.
RECIPE = 1

LIBRARIES = re.compile(
    r"openvino/libs/(lib(openvino|openvino_c|openvino_onnx_frontend|hwloc|tbb|tbbmalloc|tbbbind\w*)\.so[.\d]*"
    r"|libopenvino_(intel|arm)_cpu_plugin\.so)")
LICENCES = re.compile(r"openvino-[^/]+\.dist-info/(licenses/.+|METADATA)")


def target_of(name):
    """Where a member of the wheel goes below .openvino; None where it is not kept."""
    if LIBRARIES.fullmatch(name):
        return Path("libs") / name.rsplit("/", 1)[1]
    match = LICENCES.fullmatch(name)
    return Path("licenses") / Path(match[1]).name if match and not name.endswith("/") else None


def digest(path):
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            hashed.update(part)
    return hashed.hexdigest()


def wheel(cache, machine):
    found = next(iter(sorted(cache.glob(f"openvino-{VERSION}-*.whl"))), None)
    if found is None:
        # Newer systems' names are asked for too: what does not load here is found out below.
        pip = Pip(cache, machine, newest=35)
        found = (pip.fetch(f"openvino=={VERSION}", [PYTHON], local=True) if pip.has_folders else None) or pip.fetch(
            f"openvino=={VERSION}", [PYTHON])
        if found is None:
            raise Failure(f"pip offers no openvino {VERSION} for {machine}; its last words:\n{pip.tail()}")
    if digest(found) != HASHES[machine]:
        found.unlink()
        raise Failure(
            f"{found.name} is not the file that was expected (its SHA-256 differs); it was removed. Run this again, and check the "
            "index that pip uses if it happens twice.")
    return found


def lay_down(root, machine):
    cache, fresh, final, old = (root / f".openvino{end}" for end in (".download", ".new", "", ".old"))
    cache.mkdir(exist_ok=True)
    for leftover in [fresh, old, *cache.glob("tmp-*")]:
        shutil.rmtree(leftover, ignore_errors=True)
    say(f"fetching OpenVINO {VERSION}, {machine}")
    source = wheel(cache, machine)
    with opened(source) as archive:
        for member in archive.infolist():
            target = target_of(member.filename)
            if target is None:
                continue
            (fresh / target).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as data, open(fresh / target, "wb") as sink:
                shutil.copyfileobj(data, sink, 4 << 20)
    libraries = sorted((fresh / "libs").glob("*.so*"))
    if not any(library.name.startswith("libopenvino_c.so") for library in libraries):
        raise Failure(f"{source.name} holds no C interface")
    if machine == platform.machine():
        for library in libraries:
            missing = [name for name in unresolved(library) if name != "libtbbbind_2_5.so.3"]
            if missing:
                raise Failure(f"{library.name} does not load on this machine; the loader does not find: {', '.join(missing)}")
    (fresh / ".stamp").write_text(stamp())
    if final.exists():
        os.rename(final, old)
    os.rename(fresh, final)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    size = sum(f.stat().st_size for f in final.rglob("*") if f.is_file()) / 1e6
    say(f"OpenVINO {VERSION} is in .openvino ({size:.0f} MB)")


def stamp():
    return f"version {VERSION}\nrecipe {RECIPE}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--machine", default=platform.machine())
    options = parser.parse_args()
    if options.machine not in HASHES:
        raise Failure(f"there is no wheel of OpenVINO for {options.machine}")
    lock = open(options.root / ".openvino.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    place = options.root / ".openvino"
    if place.is_symlink():
        say("the link .openvino stays as it is")
        return
    try:
        if (place / ".stamp").read_text() == stamp():
            say(f"OpenVINO {VERSION} is in .openvino already")
            return
    except OSError:
        pass
    lay_down(options.root, options.machine)


if __name__ == "__main__":
    program(main)
