"""Training throughput, of this project from its log, of peers from their own clock."""

import re
import shutil

from . import data
from .sides import Function, Peer, Skip

SPEED = re.compile(r"Batch \[\d+-\d+\]\tSpeed: ([0-9.]+) samples/sec")


def sizes(context):
    """(steps of one figure, figures of one round)"""
    return (2, 2) if context.quick else (4, 4)


def ours(network, loss, batch, classes, settings=()):
    """A side that trains and reads the Speed lines of the log; the first, which pays for the start, is left out."""

    def make(context):
        program, folder = context.program("insightface-train"), data.faces(context)
        every, count = sizes(context)
        models = context.work / f"models-{network}-{loss}"

        def sample():
            shutil.rmtree(models, ignore_errors=True)
            # The line at batch `every` covers the warm-up; one more batch than lines, for they end at its multiples.
            # Few drawn people are enough: the other classes of the head have no images, and cost the same.
            text = context.run(
                program, "train", "--network", network, "--loss", loss, "--dataset", "bench", "--dataset-path", folder,
                "--models-root", models, "--per-batch-size", batch, "--set", f"num_classes={classes}", "--lr", "0.01",
                "--frequent", every, "--max-steps", every * (count + 1) + 1, "--verbose", 10**9, "--ckpt", 0, "--device",
                "cpu", "--threads", context.threads, *[word for s in settings for word in ("--set", s)])
            speeds = [float(match) for match in SPEED.findall(text)]
            if len(speeds) < 2:
                raise Skip(f"the log of the run has {len(speeds)} Speed lines")
            return speeds[1:]

        return Function(sample)

    return make


def pytorch(script, mode, batch, classes):
    def make(context):
        every, count = sizes(context)
        return Peer(
            context, script, "--mode", mode, "--batch", batch, "--classes", classes, "--steps", every, "--threads",
            context.threads, count=count)

    return make
