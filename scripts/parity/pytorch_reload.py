#!/usr/bin/env python3
"""Lets arcface_torch load the .pt file that this project writes of each of its networks, and compares the embeddings.

    pytorch_reload.py REPORT.json --reference FOLDER [--insightface PROGRAM] [NETWORK…]

FOLDER is recognition/arcface_torch of the reference. `insightface model export NETWORK --random-weights 1` writes an ONNX
file, `insightface model convert` makes a .pt of it; PyTorch loads that with weights_only and every name of the network's
own state, and its embedding of drawn pixels is compared with ONNX Runtime's of the ONNX file, which the export's check
holds to what this project computes: the largest difference in terms of the largest number. Results are added to
REPORT.json. Needs torch, onnxruntime and numpy in the Python that runs this.
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnxruntime
import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "scripts", "fixtures"))
from timm_shim import shim


def reference_network(name):
    if "timm" not in sys.modules and importlib.util.find_spec("timm") is None:
        shim()
    import backbones
    name = name.replace("iresnet", "r")
    return backbones.get_model(name, fp16=False, **({} if name.startswith("vit") else {"dropout": 0.0}))


def compare(program, name):
    with tempfile.TemporaryDirectory() as folder:
        onnx, pt = os.path.join(folder, "network.onnx"), os.path.join(folder, "network.pt")
        for command in ([program, "model", "export", name, onnx, "--random-weights", "1", "--no-check"],
                        [program, "model", "convert", onnx, pt]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(name + ": " + done.stdout + done.stderr)
        state = torch.load(pt, weights_only=True)
        network = reference_network(name)
        network.load_state_dict(state, strict=True)
        network.eval()
        pixels = numpy.random.default_rng(1).integers(0, 256, (2, 3, 112, 112)).astype("float32")
        with torch.no_grad():
            theirs = network((torch.from_numpy(pixels) - 127.5) / 127.5).float().numpy()
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        # Whether the file scales pixels itself is told by its metadata.
        inside = "inside_graph=true" in json.dumps(session.get_modelmeta().custom_metadata_map)
        feed = pixels if inside else (pixels - 127.5) / 127.5
        ours = session.run(None, {session.get_inputs()[0].name: feed})[0]
        return float(abs(ours - theirs).max() / abs(theirs).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report")
    parser.add_argument("networks", nargs="*", default=[
        "mbf", "mbf_large", "iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "vit_t", "vit_s", "vit_b",
        "vit_t_dp005_mask0", "vit_s_dp005_mask_0", "vit_b_dp005_mask_005", "vit_l_dp005_mask_005"])
    parser.add_argument("--reference", required=True)
    parser.add_argument("--insightface", default=os.path.join(ROOT, ".build", "release", "insightface"))
    options = parser.parse_intermixed_args()
    sys.path.insert(0, options.reference)
    report = json.load(open(options.report)) if os.path.exists(options.report) else {}
    for name in options.networks:
        report[name] = compare(options.insightface, name)
        print("%-22s %.2g" % (name, report[name]), flush=True)
        with open(options.report, "w") as file:
            json.dump(report, file, indent=1)
