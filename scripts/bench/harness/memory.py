"""Memory, as the kernel counts it."""

import os
import subprocess

from . import machine
from .sides import Skip


def need(gibibytes):
    """Leaves a side out where the machine has less free memory."""
    there = machine.available_memory()
    if there is not None and there < gibibytes * 2**30:
        raise Skip(f"needs {gibibytes} GiB of memory, {there / 2**30:.1f} are free")


def peak(context, command):
    """The highest resident memory of a command, in MiB."""
    with open(context.work / "memory.log", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=context.environment(), cwd=context.work)
        # The resources of this child alone, which `wait` of subprocess does not give.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            last = log.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise Skip(f"the command ended with {process.returncode}: {last[0]}")
    return usage.ru_maxrss / 1024
