"""Training in PyTorch: forward, backward and SGD with momentum on one batch held in memory."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

import protocol
from networks import NETWORKS

class MarginSoftmax(nn.Module):
    """ArcFace, or CosFace with a margin on the cosine."""

    def __init__(self, loss, size, classes, scale=64.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, size).normal_(0, 0.01))
        self.loss, self.scale = loss, scale

    def forward(self, embeddings, labels):
        cosine = functional.linear(functional.normalize(embeddings), functional.normalize(self.weight))
        target = cosine.gather(1, labels[:, None])
        if self.loss == "arcface":
            moved = torch.cos(torch.acos(target.clamp(-1 + 1e-6, 1 - 1e-6)) + 0.5)
        else:
            moved = target - 0.35
        return functional.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], moved), labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", choices=list(NETWORKS), default="y1")
    parser.add_argument("--loss", choices=["arcface", "cosface"], default="arcface")
    parser.add_argument("--mode", choices=["eager", "channels-last", "compile"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="steps of one figure")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--once", action="store_true", help="make the steps of one figure and end: for memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = NETWORKS[options.network]()
    head = MarginSoftmax(options.loss, network.size, options.classes)
    images = torch.randint(0, 256, (options.batch, 3, 112, 112)).float()
    labels = torch.randint(0, options.classes, (options.batch,))
    if options.mode != "eager":
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    if options.mode == "compile":
        network, head = torch.compile(network), torch.compile(head)

    def step():
        optimizer.zero_grad(set_to_none=True)
        head(network(images), labels).backward()
        optimizer.step()

    def figure():
        begin = time.perf_counter()
        for _ in range(options.steps):
            step()
        return options.batch * options.steps / (time.perf_counter() - begin)

    if options.once:
        figure()
        return
    for _ in range(3):
        step()
    protocol.serve(figure)


main()
