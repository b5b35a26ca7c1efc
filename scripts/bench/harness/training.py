"""Training throughput, of this project from its log, of peers from their own clock."""

import re
import shutil

from . import data
from .sides import Function, Peer, Skip

SPEED = re.compile(r"Batch \[\d+-\d+\]\tSpeed: ([0-9.]+) samples/sec")


def sizes(context):
    """(steps of one figure, figures of one round)"""
    return (2, 2) if context.quick else (4, 4)


def command(context, network, loss, batch, classes, models, frequent, steps):
    """The command of a training run of so many steps; few drawn people are enough: the other classes of the head have no
    images, and cost the same."""
    return [
        context.program("insightface-train"), "train", "--network", network, "--loss", loss, "--dataset", "bench",
        "--dataset-path", data.faces(context), "--models-root", models, "--per-batch-size", batch, "--set",
        f"num_classes={classes}", "--lr", "0.01", "--frequent", frequent, "--max-steps", steps, "--verbose", 10**9,
        "--ckpt", 0, "--device", "cpu", "--threads", context.threads]


def ours(network, loss, batch, classes, sizes=sizes):
    """A side that trains and reads the Speed lines of the log; the first, which pays for the start, is left out."""

    def make(context):
        data.faces(context)
        context.program("insightface-train")
        every, count = sizes(context)
        models = context.work / f"models-{network}-{loss}"

        def sample():
            shutil.rmtree(models, ignore_errors=True)
            # The line at batch `every` covers the warm-up; one more batch than lines, for they end at its multiples.
            steps = every * (count + 1) + 1
            text = context.run(*command(context, network, loss, batch, classes, models, every, steps))
            speeds = [float(match) for match in SPEED.findall(text)]
            if len(speeds) < 2:
                raise Skip(f"the log of the run has {len(speeds)} Speed lines")
            return speeds[1:]

        return Function(sample)

    return make


def pytorch(network, loss, mode, batch, classes, sizes=sizes):
    def make(context):
        every, count = sizes(context)
        return Peer(
            context, "training.py", "--network", network, "--loss", loss, "--mode", mode, "--batch", batch, "--classes",
            classes, "--steps", every, "--threads", context.threads, count=count)

    return make


# How PyTorch is run: its name in the table, and --mode.
MODES = [("eager", "eager"), ("channels-last", "channels-last"), ("`torch.compile`, channels-last", "compile")]
