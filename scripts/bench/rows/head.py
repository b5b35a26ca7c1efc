"""The classification layer over many identities: time and memory."""

from harness import memory
from harness.registry import Row
from harness.sides import Function, Peer

BATCH, SIZE = 256, 512
# Identities, figures of one round, GiB that ours and PyTorch's must find.
CASES = [(85_742, 3, 2, 4, True), (1_000_000, 1, 6, 17, False)]


def ours(classes, count, room, tells_memory=False):
    def make(context):
        program = context.program("insightface-bench")
        memory.need(room)

        def sample():
            text = context.run(
                program, "head", "--classes", classes, "--batch", BATCH, "--size", SIZE, "--threads", context.threads,
                "--samples", count, *(["--memory"] if tells_memory else []))
            return [float(word) for word in text.split()]

        return Function(sample)

    return make


def pytorch(classes, count, room, tells_memory=False):
    arguments = ["--classes", classes, "--batch", BATCH, "--size", SIZE]

    def make(context):
        context.python()
        memory.need(room)
        words = [*arguments, "--threads", context.threads]
        if not tells_memory:
            return Peer(context, "head.py", *words, count=count)
        script = context.root / "scripts/bench/peers/head.py"
        return Function(lambda: [float(context.run(context.python(), script, *words, "--memory").split()[-1])])

    return make


ROWS = []
for number, (classes, count, room, their_room, in_quick) in enumerate(CASES):
    ROWS.append(Row(
        name=f"head-{classes}", title=f"ArcFace head, a step of {BATCH} × {SIZE}, {classes:,} classes", unit="s",
        higher_is_better=False, ours=ours(classes, count, room), peers={"PyTorch": pytorch(classes, count, their_room)},
        note="forward, backward, SGD with momentum", order=40 + number, goal="2.2×" if in_quick else "3×",
        in_quick=in_quick, rounds=None if in_quick else 3))
    ROWS.append(Row(
        name=f"head-memory-{classes}", title=f"the same, {classes:,} classes: memory beside weights and momentum",
        unit="MiB", higher_is_better=False, ours=ours(classes, 1, room, True),
        peers={"PyTorch": pytorch(classes, 1, their_room, True)},
        note="highest resident memory of a step, less weights, momentum and what the process had before", order=42 + number,
        goal="64 MiB", rounds=2))
