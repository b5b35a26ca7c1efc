"""Resident memory of training."""

from harness import memory, training
from harness.registry import Row
from harness.sides import Function

BATCH = 256
CLASSES = 1000
STEPS = 3


def ours(context):
    models = context.work / "models-memory"
    command = training.command(context, "y1", "arcface", BATCH, CLASSES, models, 1, STEPS)
    return Function(lambda: [memory.peak(context, command)])


def pytorch(context):
    memory.need(8)
    command = [
        context.python(), context.root / "scripts/bench/peers/training.py", "--mode", "eager", "--batch", BATCH, "--classes",
        CLASSES, "--steps", STEPS, "--threads", context.threads, "--once"]
    return Function(lambda: [memory.peak(context, command)])


ROW = Row(
    name="train-memory",
    title=f"highest resident memory of training y1, batch {BATCH}",
    unit="MiB",
    higher_is_better=False,
    ours=ours,
    peers={"PyTorch, eager": pytorch},
    note=f"the whole process, {STEPS} steps; ours has its loader in it",
    order=15,
    goal="1.67×: no more than 0.6 of the memory",
    rounds=2,
)
