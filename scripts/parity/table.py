#!/usr/bin/env python3
"""Writes the table of networks into docs/parity.md, between the lines that mark its place.

    table.py [--insightface PROGRAM] [--parity LOG] [--round-trip REPORT.json] [--pytorch REPORT.json] [--onnx REPORT.json]

Parameters and FLOPs come from `insightface flops --json`. LOG is what the slow tests of ZooParityTests write with
INSIGHTFACE_PARITY_LOG set; the round trips are those of zoo.py and pytorch_reload.py. Errors of arcface_torch's networks
are those that the section about them tells. The ONNX column is the report of onnx_runtime.py. What was not measured stays
as the table has it.
"""
import argparse
import json
import os
import re
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DOCUMENT = os.path.join(ROOT, "docs", "parity.md")
BEGIN, END = "<!-- networks: written by scripts/parity/table.py -->", "<!-- end of networks -->"
HEADER = ["network", "parameters", "FLOPs", "embedding, evaluation", "embedding, training", "gradients",
          "`.params` through MXNet, `.pt` through PyTorch", "ONNX Runtime"]


def flops_text(count):
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return "%.1f%s" % (count / size, letter)
    return "%.1f" % count


def parity(path):
    """network -> the three errors, of the largest image where there are several."""
    result = {}
    for line in open(path):
        key, evaluation, training, gradient = line.split()[:4]
        match = re.fullmatch(r"([a-z0-9]+)@(\d+)", key)
        if match and (match[1] not in result or int(match[2]) > result[match[1]][0]):
            result[match[1]] = (int(match[2]), float(evaluation), float(training), float(gradient))
    return {name: values[1:] for name, values in result.items()}


def told(document):
    """network of arcface_torch -> the three errors that the document tells, `mbf` 2e-7 / 2e-6 / 1.4e-4."""
    sentence = document.split("Measured, evaluation / training / largest of the gradients:")[1].split("The symbols written")[0]
    number = r"\s*([0-9.e-]+)\s*"
    found = re.findall(r"`(\w+)`" + "/".join([number] * 3), sentence)
    return {name: [float(v.rstrip(".")) for v in values] for name, *values in found}


def old_rows(text):
    rows = {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == len(HEADER) and cells[0] not in ("network", "") and not cells[0].startswith("-"):
            rows[cells[0]] = cells
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--insightface", default=os.path.join(ROOT, ".build", "release", "insightface"))
    parser.add_argument("--parity")
    parser.add_argument("--round-trip")
    parser.add_argument("--pytorch")
    parser.add_argument("--onnx")
    options = parser.parse_args()
    document = open(DOCUMENT).read()
    before, rest = document.split(BEGIN)
    old, after = rest.split(END)
    kept = old_rows(old)
    counted = json.loads(subprocess.run([options.insightface, "flops", "--json"], check=True, capture_output=True, text=True).stdout)
    errors = told(document)
    errors.update(parity(options.parity) if options.parity else {})
    trips = {}
    for report in (options.round_trip, options.pytorch):
        trips.update(json.load(open(report)) if report else {})
    onnx = json.load(open(options.onnx)) if options.onnx else {}
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in counted:
        name = row["network"]
        cells = kept.get(name, [""] * len(HEADER))
        cells[:3] = [name, "{:,}".format(row["parameters"]), flops_text(row["flops"])]
        if name in errors:
            cells[3:6] = ["%.1e" % e for e in errors[name]]
        if name in trips:
            cells[6] = "%.1e" % trips[name]
        if name in onnx:
            cells[7] = "%.1e" % onnx[name]
        lines.append("| " + " | ".join(cells) + " |")
    with open(DOCUMENT, "w") as file:
        file.write(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
