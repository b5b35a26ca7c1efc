#!/usr/bin/env python3
"""Lets ONNX Runtime run the ONNX file that this project writes of every network, and compares the embeddings.

    onnx_runtime.py REPORT.json [--insightface PROGRAM] [NETWORK…]

All networks unless some are named; results are added to REPORT.json. `insightface model export NETWORK --random-weights 1`
writes each file, and its check compares what this project and ONNX Runtime compute of one drawn image: the largest
difference in terms of the largest number of the embedding, at most 1e-4. Needs onnxruntime and numpy in the Python that
runs this.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def check(program, network):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program, "model", "export", network, os.path.join(folder, "network.onnx"), "--random-weights", "1"],
            env=dict(os.environ, INSIGHTFACE_ONNXRUNTIME_PYTHON=sys.executable), capture_output=True, text=True)
    found = re.search(r"largest difference (\S+)", done.stdout)
    if done.returncode != 0 or not found:
        raise SystemExit(done.stdout + done.stderr)
    return float(found[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report")
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--insightface", default=os.path.join(ROOT, ".build", "release", "insightface"))
    options = parser.parse_intermixed_args()
    report = json.load(open(options.report)) if os.path.exists(options.report) else {}
    names = options.networks
    if not names:
        counted = subprocess.run([options.insightface, "flops", "--json"], check=True, capture_output=True)
        names = [row["network"] for row in json.loads(counted.stdout)]
    for name in names:
        report[name] = check(options.insightface, name)
        print("%-22s %.2g" % (name, report[name]), flush=True)
        with open(options.report, "w") as file:
            json.dump(report, file, indent=1)
    print("%d networks, largest difference %.2g" % (len(report), max(report.values())))
