"""The judgement of 6,000 pairs, embeddings given."""

from harness.registry import Row
from harness.sides import Function, Peer

PAIRS, SIZE = 6000, 512


def ours(context):
    program = context.program("insightface-bench-plan")

    def sample():
        text = context.run(program, "verify", "--pairs", PAIRS, "--size", SIZE, "--samples", 5 if context.quick else 15)
        return [float(word) for word in text.split()]

    return Function(sample)


def embeddings(context):
    def make():
        path = context.work / "pairs.f32"
        context.run(
            context.program("insightface-bench-plan"), "verify", "--pairs", PAIRS, "--size", SIZE, "--write", path)
        return path

    return context.once("pairs", make)


def numpy(context):
    context.python()
    return Peer(context, "verification.py", "--embeddings", embeddings(context), "--size", SIZE, count=1 if context.quick else 2)


ROW = Row(
    name="verify",
    title=f"verify {PAIRS:,} pairs, embeddings given: ten folds, accuracy and VAL",
    unit="ms",
    higher_is_better=False,
    ours=ours,
    peers={"NumPy, as `verification.py`": numpy},
    note="ours normalises the embeddings and gives the exact ROC as well, in the same time",
    order=50,
    goal="50×",
    in_quick=True,
)
