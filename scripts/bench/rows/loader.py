"""From a record file to batches of decoded, mirrored faces."""

from harness import data
from harness.registry import Row
from harness.sides import Function, Peer

BATCH = 128


def ours(context):
    program, folder = context.program("insightface-bench"), data.faces(context)
    batches = 40 if context.quick else 150

    def sample():
        text = context.run(
            program, "loader", "--data", folder, "--batch", BATCH, "--threads", context.threads, "--batches", batches,
            "--samples", 3)
        return [float(word) for word in text.split()]

    return Function(sample)


ROW = Row(
    name="loader",
    title=f"loader: read, decode, mirror, batches of {BATCH}",
    unit="images/s",
    ours=ours,
    peers={
        "PyTorch DataLoader, OpenCV": lambda context: Peer(
            context, "loader.py", "--data", data.faces(context), "--batch", BATCH, "--workers", context.threads,
            "--batches", 40 if context.quick else 150, count=3)
    },
    note="drawn faces, 112×112 JPEG; decoding threads or worker processes as many as threads are given",
    order=30,
)
