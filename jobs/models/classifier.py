"""A network together with how its images are normalised, so that whoever loads it need not know."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class ClosedForm(Protocol):
    """A network that is computed from images and labels at once instead of trained."""

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:
        """Add a batch of normalised images (N, C, H, W) and their labels, as scikit-learn's partial_fit does."""


class Classifier(nn.Module):
    """Normalise, then ask the network: images (N, C, H, W) of 0 to 255 to logits (N, classes).

    `mean` and `std` hold one figure for each channel that the network wants; grey images become as many.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Return what the network sees of images of 0 to 255."""
        return (images.float() - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(self.normalise(images))
        return logits


def find_head(model: Classifier) -> nn.Module:
    """Return the layer that makes class numbers of features: the last linear one, or convolution."""
    return next(m for m in reversed(list(model.net.modules())) if isinstance(m, nn.Linear | nn.Conv2d))


def find_maps(model: Classifier) -> list[nn.Conv2d]:
    """Return the convolutions, from the image on; none in a network that has no such."""
    found = [m for m in model.net.modules() if isinstance(m, nn.Conv2d)]
    return found[:-1] if found and found[-1] is find_head(model) else found


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training adjusts."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
