"""Faces found, and photos on their whole way to embeddings, without LibTorch."""

import os
import sys
from pathlib import Path

from harness import networks
from harness.registry import Row
from harness.sides import Function, Peer, Skip

WIDTH, HEIGHT = 640, 480
# What mnet.25 does to pixels, which its files do not tell: nothing but to put red first.
RAW = "colour=RGB;size={0}x{0};mean=0;scale=1;inside_graph=false"
PHOTO = 250


def calls(context):
    return 15 if context.quick else 40


# -- the network alone -----------------------------------------------------------------------------------------------------


def mnet(context):
    return networks.onnx(context, "mnet", "--size", f"{WIDTH}x{HEIGHT}")


def network(context):
    program, model = context.program("insightface-bench-plan"), mnet(context)

    def sample():
        text = context.run(
            program, "run", "--model", model, "--threads", context.threads, "--calls", calls(context), "--samples", 3)
        return [float(word) for word in text.split()]

    return Function(sample)


def engine(name):
    def make(context):
        context.package(name)

        def written():
            path = context.work / "mnet-sample.f32"
            context.run(
                context.program("insightface-bench-plan"), "run", "--model", mnet(context), "--threads", context.threads,
                "--write", path)
            return path

        return Peer(
            context, "network.py", "--engine", name, "--model", mnet(context), "--sample",
            context.once("mnet-sample", written), "--size", f"{HEIGHT}x{WIDTH}", "--threads", context.threads, "--calls",
            calls(context), count=3)

    return make


# -- from photo to embedding -----------------------------------------------------------------------------------------------


def data(context):
    """Folders of real photos and networks, as the tests find them."""
    place = Path(os.environ.get("INSIGHTFACE_TEST_DATA") or context.root / "../shared/data").resolve()
    wanted = [place / name for name in ("lfw-photos", "retinaface-mnet25", "mobilefacenet-y1")]
    missing = [path.name for path in wanted if not path.is_dir()]
    if missing:
        raise Skip(f"{place} has no {', '.join(missing)} ($INSIGHTFACE_TEST_DATA names another folder)")
    return wanted


def photo_list(context):
    """Photos of one size, each of another person: what the peer's network takes."""
    photos = data(context)[0]

    def make():
        folders = sorted(folder for folder in photos.iterdir() if folder.is_dir())
        chosen = [min(folder.glob("*.jpg")) for folder in folders if any(folder.glob("*.jpg"))]
        path = context.work / "photos.txt"
        path.write_text("".join(f"{photo}\n" for photo in chosen[: 40 if context.quick else 200]))
        return path

    return context.once("photos", make)


def command(context):
    _, detector, recognizer = data(context)
    return [
        context.program("insightface-bench-plan"), "pipeline", "--detector", detector / "mnet.25", "--recognizer",
        recognizer / "model,0", "--list", photo_list(context), "--threads", context.threads]


def pipeline(context):
    words = command(context)

    def sample():
        return [float(word) for word in context.run(*words, "--samples", 3).split()]

    return Function(sample)


def exported(context, name, source, *options):
    def make():
        path = context.work / f"{name}.onnx"
        context.run(
            context.program("insightface"), "model", "export", f"{source},0", path, "--fold-bn", "--no-check", *options)
        return path

    return context.once(f"exported-{name}", make)


def package(context):
    python = context.package("insightface")
    _, detector, recognizer = data(context)

    def found():
        path = context.work / "faces.json"
        context.run(*command(context), "--write", path)
        return path

    words = [
        "--detector",
        exported(
            context, "mnet25", detector / "mnet.25", "--preprocessing", RAW.format(PHOTO), "--size",
            f"{PHOTO}x{PHOTO}"),
        "--recognizer", exported(context, "y1-trained", recognizer / "model"), "--list", photo_list(context), "--threads",
        context.threads, "--expected", context.once("faces-found", found)]
    script = context.root / "scripts/bench/peers/pipeline.py"
    told = context.run(python, script, *words, "--check")
    print("".join(f"[pipeline] {line}\n" for line in told.splitlines() if line.startswith("check: ")), end="", file=sys.stderr)
    return Peer(context, "pipeline.py", *words, count=3)


ROWS = [
    Row(
        name="detect-mnet-640",
        title=f"RetinaFace mnet, one image of {WIDTH}×{HEIGHT}, the network alone",
        unit="ms",
        higher_is_better=False,
        ours=network,
        peers={"ONNX Runtime": engine("onnxruntime"), "OpenVINO": engine("openvino")},
        note="the same ONNX file with drawn weights, float32; outputs agree to 1e-3 of the largest",
        order=60,
        goal="1.5× the best",
    ),
    Row(
        name="pipeline",
        title=f"photo to embedding: a JPEG of {PHOTO}×{PHOTO} decoded, mnet.25, aligned, y1",
        unit="photos/s",
        ours=pipeline,
        peers={"insightface package: OpenCV, NumPy, ONNX Runtime": package},
        note="one photo a call, all its faces; the same trained networks as ONNX files; the package's ArcFaceONNX and norm_crop, its "
        "way of detecting written out for a network with anchors; boxes and embeddings agree",
        order=61,
        goal="2×",
    ),
]
