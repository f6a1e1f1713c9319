"""Baselines: the most frequent class, the nearest mean image, one layer, two layers."""

import torch
from torch import Tensor, nn


class Majority(nn.Module):
    """Always predicts the most frequent class."""

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(classes))

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:  # noqa: ARG002  it ignores the images on purpose
        """Count the labels."""
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def forward(self, images: Tensor) -> Tensor:
        """Return the class frequencies as logits, regardless of the images."""
        shares = (self.counts + 1e-9) / (self.counts.sum() + 1e-9)
        return shares.log().expand(len(images), -1)


class MeanImage(nn.Module):
    """Predicts the class with the nearest mean image: the baseline of fast.ai's book, chapter 4."""

    sums: Tensor
    counts: Tensor

    def __init__(self, classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(classes, *shape))
        self.register_buffer("counts", torch.zeros(classes))

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:
        """Add the images to the sums of their classes."""
        self.sums.index_add_(0, labels, images)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def forward(self, images: Tensor) -> Tensor:
        """Return the negative mean squared distance to each class's mean image; -inf for unseen classes."""
        means = self.sums / self.counts.view(-1, 1, 1, 1).clamp(min=1)
        distances = torch.cdist(images.flatten(1), means.flatten(1)).square() / images[0].numel()
        return -distances.masked_fill(self.counts == 0, torch.inf)


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return softmax regression: one weight per pixel and class."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def mlp(shape: tuple[int, int, int], classes: int, hidden: int = 256) -> nn.Module:
    """Return a network with one hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
