"""A network together with the normalization of its images."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..tasks import SINGLE_LABEL, Task


@runtime_checkable
class ClosedForm(Protocol):
    """A network computed directly from images and labels instead of trained."""

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:
        """Add a batch of normalized images (N, C, H, W) and labels, like scikit-learn's partial_fit."""


class Classifier(nn.Module):
    """Normalize images (N, C, H, W) of 0 to 255, then apply the network: logits (N, classes).

    `mean` and `std` have one value per channel of the network; grey images are repeated to match. `task` says what the
    logits stand for.
    """

    mean: Tensor
    std: Tensor
    task: Task

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.task = SINGLE_LABEL
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Return images of 0 to 255 as the network receives them."""
        return (images.float() - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(self.normalise(images))
        return logits


class Answering(nn.Module):
    """A classifier that returns answers instead of logits: probabilities of labels, or numbers."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.answer = model.task.answer

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers."""
        answers: Tensor = self.answer(self.model(images))
        return answers


def find_head(model: Classifier) -> nn.Module:
    """Return the layer that turns features into logits: the last linear layer or convolution."""
    return next(m for m in reversed(list(model.net.modules())) if isinstance(m, nn.Linear | nn.Conv2d))


def find_maps(model: Classifier) -> list[nn.Conv2d]:
    """Return the convolutions from first to last; empty if there are none."""
    found = [m for m in model.net.modules() if isinstance(m, nn.Conv2d)]
    return found[:-1] if found and found[-1] is find_head(model) else found


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
