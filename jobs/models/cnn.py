"""Our own convolutional networks, for images of 8 x 8 pixels or more."""

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)
"""Channels after each block of the small network; each block halves height and width."""


class Mean(nn.Module):
    """Global average pooling, which makes the weights independent of the image size."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C) for (N, C, H, W)."""
        return features.mean(dim=(2, 3))


def lenet(channels: int, classes: int) -> nn.Module:
    """Return LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, for any image size."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(5),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def small(channels: int, classes: int) -> nn.Module:
    """Return three convolution blocks, global average pooling, and one linear layer."""
    return nn.Sequential(
        *(unit(i, o, pool=True) for i, o in pairwise((channels, *WIDTHS))), Mean(), nn.Linear(WIDTHS[-1], classes)
    )


class Extremes(nn.Module):
    """Concatenated global maximum and average pooling, as in fastai."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, 2 C) for (N, C, H, W)."""
        return torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)


class Residual(nn.Module):
    """Convolutions with a residual connection."""

    def __init__(self, width: int, convolutions: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(unit(width, width) for _ in range(convolutions)))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        out: Tensor = features + self.layers(features)
        return out


def resnet6(channels: int, classes: int) -> nn.Module:
    """Return a smaller ResNet9 for CPUs: pools early, a twelfth of the work."""
    return nn.Sequential(
        unit(channels, 32, pool=True),
        unit(32, 64),
        Residual(64, convolutions=1),
        nn.MaxPool2d(2),
        unit(64, 128),
        Residual(128, convolutions=1),
        Extremes(),
        nn.Dropout(0.2),
        nn.Linear(256, classes),
    )


class ResNet9(nn.Module):
    """The network of the fast CIFAR-10 recipes: four levels, two of them residual, and a scaled head.

    After David Page's "How to train your ResNet", including pooling before the norm.
    """

    def __init__(self, channels: int, classes: int, width: int = 64, scale: float = 0.125) -> None:
        super().__init__()
        self.scale = scale
        self.levels = nn.Sequential(
            unit(channels, width),
            unit(width, 2 * width, pool=True),
            Residual(2 * width),
            unit(2 * width, 4 * width, pool=True),
            unit(4 * width, 8 * width, pool=True),
            Residual(8 * width),
        )
        self.head = nn.Linear(8 * width, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        features = self.levels(images)
        logits: Tensor = self.head(torch.amax(features, dim=(2, 3))) * self.scale
        return logits


def unit(inputs: int, outputs: int, pool: bool = False) -> nn.Module:
    """Return convolution, 2 x 2 max pooling if `pool`, norm, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]  # batch norm has its own bias
    if pool:  # before the norm: a quarter of the pixels to normalise, 1.4 times the images a second
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
