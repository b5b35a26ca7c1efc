"""How long a program takes to say what it can do, and to its first embedding."""

import time

from harness import networks
from harness.registry import Row
from harness.sides import Function


def timed(context, command):
    command = [str(part) for part in command]

    def once():
        begin = time.perf_counter()
        context.run(*command)
        return 1000 * (time.perf_counter() - begin)

    once()  # the first run reads the program from the disk
    return Function(lambda: [once() for _ in range(3 if context.quick else 10)])


def python(package):
    return lambda context: timed(context, [context.package(package), "-c", f"import {package}"])


def first_embedding(context):
    program, model = context.program("insightface-bench-plan"), networks.onnx(context, "y1")
    return timed(context, [
        program, "embed", "--model", model, "--batch", 1, "--threads", context.threads, "--batches", 1, "--warm-up", 0])


def python_embedding(package):
    def make(context):
        context.package(package)
        return timed(context, [
            context.python(), context.root / "scripts/bench/peers/first_embedding.py", "--package", package, "--model",
            networks.onnx(context, "y1"), "--threads", context.threads])

    return make


ROWS = [
    Row(
        name="start",
        title="start: `insightface --help`",
        unit="ms",
        higher_is_better=False,
        ours=lambda context: timed(context, [context.program("insightface"), "--help"]),
        peers={"Python, `import insightface`": python("insightface"), "Python, `import torch`": python("torch")},
        order=90,
        goal="20× `import insightface`",
        in_quick=True,
    ),
    Row(
        name="first-embedding",
        title="from the command to the first embedding, y1",
        unit="ms",
        higher_is_better=False,
        ours=first_embedding,
        peers={
            "Python, insightface": python_embedding("insightface"),
            "Python, ONNX Runtime alone": python_embedding("onnxruntime"),
        },
        note="the whole process: start, model file, one aligned face",
        order=91,
        goal="5× Python, insightface",
    ),
]
