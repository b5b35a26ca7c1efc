"""Who of a million is it: exact search."""

from harness import memory
from harness.registry import Row
from harness.sides import Function, Peer, Skip

COUNT, SIZE, QUERIES, TOP = 1_000_000, 512, 256, 10


def ours(context):
    program = context.program("insightface-bench-plan")
    if " search " not in context.run(program, "--help"):
        raise Skip("this build has no `insightface-bench-plan search`")
    memory.need(3)

    def sample():
        # Seconds of a search of all queries, a line each.
        text = context.run(
            program, "search", "--count", COUNT, "--size", SIZE, "--queries", QUERIES, "--top", TOP, "--threads",
            context.threads, "--samples", 3)
        return [float(word) for word in text.split()]

    return Function(sample)


def faiss(context):
    context.package("faiss")
    memory.need(5)
    return Peer(
        context, "search.py", "--count", COUNT, "--size", SIZE, "--queries", QUERIES, "--top", TOP, "--threads",
        context.threads, count=3)


ROW = Row(
    name="search",
    title=f"search {COUNT:,} × {SIZE} for {QUERIES} faces, the best {TOP}, exact",
    unit="s",
    higher_is_better=False,
    ours=ours,
    peers={"faiss, IndexFlatIP": faiss},
    order=60,
    goal="1×",
)
