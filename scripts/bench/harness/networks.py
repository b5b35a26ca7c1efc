"""Networks with drawn weights, made once a run: every side runs the same ONNX file."""


def onnx(context, network, *options):
    """An ONNX file with batch normalisation folded, as `insightface model export` writes it with these options."""

    def make():
        prefix, path = context.work / "networks" / network, context.work / "networks" / f"{network}.onnx"
        prefix.parent.mkdir(exist_ok=True)
        context.run(context.program("insightface-bench-plan"), "network", "--network", network, "--output", prefix)
        context.run(
            context.program("insightface"), "model", "export", f"{prefix},0", path, "--fold-bn", "--no-check",
            *options)
        return path

    return context.once(f"network-{network}", make)
