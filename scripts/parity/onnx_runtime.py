#!/usr/bin/env python3
"""Lets ONNX Runtime run the ONNX file that this project writes of every network, and compares the embeddings.

    onnx_runtime.py REPORT.json [NETWORK…]     all networks unless some are named; results are added to REPORT.json

For each network the test `ONNXZooTests` (built by `swift build --build-tests`) writes NETWORK.onnx with weights made by a
hash, two images and the embeddings that this project computes of them. ONNX Runtime runs the file on the images and must
agree within 1e-4 of the embeddings' norm. Needs onnxruntime and numpy. $PACKAGE names another folder to run the tests in.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

ROOT = os.environ.get("PACKAGE", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


def check(network):
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, INSIGHTFACE_EXPORT_DIR=folder, INSIGHTFACE_EXPORT_NETWORK=network)
        done = subprocess.run(
            ["swift", "test", "--skip-build", "--no-parallel", "--filter", "aModelForONNXRuntimeToRun"], cwd=ROOT,
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout)
        stem = os.path.join(folder, network)
        session = onnxruntime.InferenceSession(stem + ".onnx", providers=["CPUExecutionProvider"])
        pixels = np.load(stem + "-input.npy").reshape(2, 3, 112, 112)
        theirs = session.run(None, {session.get_inputs()[0].name: pixels})[0].astype(np.float64).reshape(-1)
        ours = np.load(stem + "-embeddings.npy").astype(np.float64).reshape(-1)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    report = json.load(open(sys.argv[1])) if os.path.exists(sys.argv[1]) else {}
    names = sys.argv[2:]
    if not names:
        counted = subprocess.run(
            [os.path.join(ROOT, ".build", "debug", "insightface"), "flops", "--json"], check=True, capture_output=True)
        names = [row["network"] for row in json.loads(counted.stdout)]
    for name in names:
        report[name] = check(name)
        print("%-12s %.2g" % (name, report[name]), flush=True)
        with open(sys.argv[1], "w") as file:
            json.dump(report, file, indent=1)
    worst = max(report.values())
    print("%d networks, largest difference %.2g" % (len(report), worst))
    assert worst < 1e-4
