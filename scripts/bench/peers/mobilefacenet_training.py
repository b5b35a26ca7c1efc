"""MobileFaceNet y1 + ArcFace in PyTorch: forward, backward and SGD with momentum on one batch held in memory."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

import protocol

# Output channels, stride, blocks, and the width of a block's expanded middle.
STAGES = [(64, 2, 1, 128), (64, 1, 4, 128), (128, 2, 1, 256), (128, 1, 6, 256), (128, 2, 1, 512), (128, 1, 2, 256)]


def conv(inputs, outputs, kernel=1, stride=1, padding=0, groups=1, activates=True):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.1),
    ]
    return layers + [nn.PReLU(outputs)] if activates else layers


class Block(nn.Module):
    """Expand, depthwise, project; with a residual where nothing changes shape."""

    def __init__(self, inputs, outputs, stride, width):
        super().__init__()
        self.has_shortcut = stride == 1
        self.layers = nn.Sequential(
            *conv(inputs, width), *conv(width, width, 3, stride, 1, groups=width), *conv(width, outputs, activates=False))

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.has_shortcut else y


class MobileFaceNet(nn.Module):
    def __init__(self, size=128):
        super().__init__()
        layers = [*conv(3, 64, 3, 2, 1), *conv(64, 64, 3, 1, 1, groups=64)]
        channels = 64
        for outputs, stride, count, width in STAGES:
            for _ in range(count):
                layers.append(Block(channels, outputs, stride, width))
                channels = outputs
        layers += [*conv(128, 512), *conv(512, 512, 7, groups=512, activates=False), nn.Flatten()]
        layers += [nn.Linear(512, size), nn.BatchNorm1d(size, eps=2e-5)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers((images - 127.5) * 0.0078125)


class ArcFace(nn.Module):
    def __init__(self, size, classes, scale=64.0, margin=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, size).normal_(0, 0.01))
        self.scale, self.margin = scale, margin

    def forward(self, embeddings, labels):
        cosine = functional.linear(functional.normalize(embeddings), functional.normalize(self.weight))
        target = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        moved = torch.cos(torch.acos(target) + self.margin)
        return functional.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], moved), labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=["eager", "channels-last", "compile"], required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="steps of one figure")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network, head = MobileFaceNet(), ArcFace(128, options.classes)
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

    for _ in range(3):
        step()
    protocol.serve(figure)


main()
