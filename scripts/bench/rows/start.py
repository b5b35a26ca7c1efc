"""How long a program takes to say what it can do."""

import subprocess
import time

from harness.registry import Row
from harness.sides import Function


def timed(context, command):
    def sample():
        times = []
        for _ in range(5 if context.quick else 15):
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=context.environment())
            times.append(1000 * (time.perf_counter() - begin))
        return times

    sample()  # the first run reads the program from the disk
    return Function(sample)


ROW = Row(
    name="start",
    title="start: `insightface --help`",
    unit="ms",
    higher_is_better=False,
    ours=lambda context: timed(context, [context.program("insightface"), "--help"]),
    peers={"Python, `import torch`": lambda context: timed(context, [context.peers, "-c", "import torch"])},
    order=90,
)
