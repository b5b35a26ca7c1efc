"""The networks that are trained, in PyTorch: layers and constants of InsightFace's own."""

from torch import nn

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
    """`y1`."""

    size = 128

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


def norm(channels):
    return nn.BatchNorm2d(channels, eps=2e-5, momentum=0.1)


class Unit(nn.Module):
    """Normalisation, convolution, normalisation, PReLU, convolution with the stride, normalisation; nothing behind the sum."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.layers = nn.Sequential(
            norm(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), norm(outputs), nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False), norm(outputs))
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


class ResNet50(nn.Module):
    """`r50`: units of kind 3, output E."""

    size = 512

    def __init__(self, size=512):
        super().__init__()
        layers, channels = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), norm(64), nn.PReLU(64)], 64
        for outputs, count in zip([64, 128, 256, 512], [3, 4, 14, 3]):
            for index in range(count):
                layers.append(Unit(channels, outputs, 2 if index == 0 else 1))
                channels = outputs
        layers += [norm(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, size), nn.BatchNorm1d(size, eps=2e-5)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers((images - 127.5) * 0.0078125)


NETWORKS = {"y1": MobileFaceNet, "r50": ResNet50}
