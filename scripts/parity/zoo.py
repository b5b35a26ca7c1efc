#!/usr/bin/env python3
"""Lets MXNet 1.9.1 load the checkpoint that this project writes of every network, and compares the embeddings.

    zoo.py REPORT.json [NETWORK…]      all networks unless some are named; results are added to REPORT.json

For each network the test `ZooExportTests` (built by `swift build --build-tests`) writes NETWORK-symbol.json and
NETWORK-0000.params with weights made by a hash, and the embeddings of two images that LibTorch computes. MXNet loads both
files, embeds the same images and must agree within 1e-4 of the embeddings' norm. Needs mxnet 1.9.1 and numpy 1.23.
"""
import json
import os
import subprocess
import sys
import tempfile

import mxnet as mx
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "scripts", "fixtures"))
import hashed_tensors  # noqa: E402
import make_zoo  # noqa: E402


def check(network):
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, INSIGHTFACE_EXPORT_DIR=folder, INSIGHTFACE_EXPORT_NETWORK=network)
        done = subprocess.run(
            ["swift", "test", "--skip-build", "--no-parallel", "--filter", "ZooExportTests"], cwd=ROOT, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout)
        symbol, arguments, auxiliaries = mx.model.load_checkpoint(os.path.join(folder, network), 0)
        ours = np.array(json.load(open(os.path.join(folder, network + "-embeddings.json"))), np.float64)
        data = hashed_tensors.images("zoo", hashed_tensors.labels("zoo", 2, 20)).astype(np.float32)
        executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=data.shape)
        executor.copy_params_from(arguments, auxiliaries)
        theirs = executor.forward(is_train=False, data=mx.nd.array(data))[0].asnumpy().astype(np.float64)
    return float(np.linalg.norm(ours - theirs.reshape(-1)) / np.linalg.norm(theirs))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    report = json.load(open(sys.argv[1])) if os.path.exists(sys.argv[1]) else {}
    for name in sys.argv[2:] or make_zoo.NETWORKS:
        report[name] = check(name)
        print("%-12s %.2g" % (name, report[name]), flush=True)
        with open(sys.argv[1], "w") as file:
            json.dump(report, file, indent=1)
    worst = max(report.values())
    print("%d networks, largest difference %.2g" % (len(report), worst))
    assert worst < 1e-4
