"""The ArcFace head in PyTorch: normalised product, margin, cross entropy, backward, SGD with momentum."""

import argparse
import time

import torch
from torch.nn import functional

import protocol


def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"the system does not tell {key}")


def forget_peak():
    try:
        open("/proc/self/clear_refs", "w").write("5")
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--memory", action="store_true", help="tell memory beside weights and momentum, not time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    before = status("VmRSS")
    weight = torch.nn.Parameter(torch.empty(options.classes, options.size).normal_(0, 0.01))
    embeddings = torch.randn(options.batch, options.size, requires_grad=True)
    labels = torch.randint(0, options.classes, (options.batch,))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    if options.memory:
        forget_peak()

    def step():
        optimizer.zero_grad(set_to_none=True)
        embeddings.grad = None
        cosine = functional.linear(functional.normalize(embeddings), functional.normalize(weight))
        target = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        moved = torch.cos(torch.acos(target) + 0.5)
        functional.cross_entropy(64 * cosine.scatter(1, labels[:, None], moved), labels).backward()
        optimizer.step()

    def figure():
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    figure()
    if options.memory:
        figure()
        held = 2 * 4 * options.classes * options.size
        print((status("VmHWM") - before - held) / 2**20)
    else:
        protocol.serve(figure)


main()
