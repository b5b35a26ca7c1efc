"""From a record file to batches of decoded, mirrored faces."""

from harness import data
from harness.registry import Row
from harness.sides import Function, Peer, Skip

BATCH = 128


def batches(context):
    return 40 if context.quick else 150


def ours(context):
    program, folder = context.program("insightface-bench"), data.faces(context)

    def sample():
        text = context.run(
            program, "loader", "--data", folder, "--batch", BATCH, "--threads", context.threads, "--batches",
            batches(context), "--samples", 3)
        return [float(word) for word in text.split()]

    return Function(sample)


def bare(context):
    program, folder = context.program("insightface-bench-plan"), data.faces(context)

    def sample():
        text = context.run(
            program, "decode", "--data", folder, "--threads", context.threads, "--images", BATCH * batches(context),
            "--samples", 3)
        return [float(word) for word in text.split()]

    return Function(sample)


def pytorch(context):
    context.python()
    return Peer(
        context, "loader.py", "--data", data.faces(context), "--batch", BATCH, "--workers", context.threads, "--batches",
        batches(context), count=3)


def mxnet(context):
    if context.mxnet is None:
        raise Skip("$INSIGHTFACE_PEERS_MXNET names no Python with MXNet")
    return Peer(
        context, "loader_mxnet.py", "--data", data.faces(context), "--batch", BATCH, "--threads", context.threads,
        "--batches", batches(context), count=3, python=context.mxnet)


ROW = Row(
    name="loader",
    title=f"loader: read, decode, mirror, batches of {BATCH}",
    unit="images/s",
    ours=ours,
    peers={
        "bare libjpeg-turbo, no loader": bare, "PyTorch DataLoader, OpenCV": pytorch, "MXNet, ImageRecordIter": mxnet,
    },
    note="drawn faces, 112×112 JPEG; decoding threads or worker processes as many as threads are given; libjpeg-turbo alone is "
    "the bound, with the same accurate DCT",
    order=30,
    goal="0.85× bare libjpeg-turbo, 1.7× DataLoader, 2.5× ImageRecordIter",
    in_quick=True,
)
