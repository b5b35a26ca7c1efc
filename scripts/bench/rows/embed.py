"""Aligned faces to embeddings, without LibTorch."""

from harness import networks
from harness.registry import Row
from harness.sides import Function, Peer

ENGINES = [("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"), ("PyTorch, `torch.compile`, channels-last", "compile")]


def calls(context, rate, batch):
    """Calls of one figure: about a second's, at so many images a second."""
    return max(1, round((0.5 if context.quick else 1) * rate / batch))


def row(network, title, batch, rate, goal, order, in_quick=False):
    count = 3

    def ours(context):
        program, model = context.program("insightface-bench-plan"), networks.onnx(context, network)

        def sample():
            text = context.run(
                program, "embed", "--model", model, "--batch", batch, "--threads", context.threads, "--batches",
                calls(context, rate, batch), "--samples", count)
            return [float(word) for word in text.split()]

        return Function(sample)

    def peer(engine):
        def make(context):
            context.python()
            return Peer(
                context, "embedding.py", "--engine", engine, "--model", networks.onnx(context, network), "--batch", batch,
                "--threads", context.threads, "--calls", calls(context, rate, batch), count=count)

        return make

    peers = {name: peer(engine) for name, engine in ENGINES}
    return Row(
        name=f"embed-{network}-{batch}", title=f"embed {title}, batch {batch}", unit="images/s", ours=ours, peers=peers,
        note="the same ONNX file, float32; ours starts from 8-bit pixels" if order == 20 else "", order=order, goal=goal,
        in_quick=in_quick, slow_peers=(ENGINES[2][0],))


ROWS = [
    row("y1", "MobileFaceNet y1", 1, 120, "1.7× the best", 20, in_quick=True),
    row("y1", "MobileFaceNet y1", 32, 150, "1.4× the best", 21),
    row("r50", "ResNet r50", 1, 12, "1.2× the best", 22),
    row("r50", "ResNet r50", 16, 12, "1.2× the best", 23),
    row("r100", "ResNet r100", 1, 6, "1.2× the best", 24),
    row("r100", "ResNet r100", 16, 6, "1.2× the best", 25),
]
