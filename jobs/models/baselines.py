"""Baselines: the most frequent class, the nearest mean image, one layer, two layers."""

import torch
from torch import Tensor, nn


class Majority(nn.Module):
    """Always the class that has most images."""

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(classes))

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:  # noqa: ARG002  it looks at no image, that is the point
        """Count the labels."""
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def forward(self, images: Tensor) -> Tensor:
        """Return the shares of the classes, as logits, whatever the images show."""
        shares = (self.counts + 1e-9) / (self.counts.sum() + 1e-9)
        return shares.log().expand(len(images), -1)


class MeanImage(nn.Module):
    """The class whose mean image is nearest, pixel by pixel: the baseline of fast.ai's book, chapter 4."""

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
        """Return minus the mean squared distance to each class's mean image; infinite for a class never seen."""
        means = self.sums / self.counts.view(-1, 1, 1, 1).clamp(min=1)
        distances = torch.cdist(images.flatten(1), means.flatten(1)).square() / images[0].numel()
        return -distances.masked_fill(self.counts == 0, torch.inf)


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return softmax regression: one weight for each pixel and class."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def mlp(shape: tuple[int, int, int], classes: int, hidden: int = 256) -> nn.Module:
    """Return a network with one hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
