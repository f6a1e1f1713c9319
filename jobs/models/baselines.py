"""Baselines: a rule, the most frequent class, the nearest mean image, one layer, two layers."""

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


class Rule(nn.Module):
    """Predicts by hand-picked measures: brightness, colour, contrast and edges.

    Only their averages over each class are counted; what to look at is decided here, in code, not learned.
    """

    sums: Tensor
    squares: Tensor
    counts: Tensor

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        measures = 2 * channels + 4
        self.register_buffer("sums", torch.zeros(classes, measures))
        self.register_buffer("squares", torch.zeros(measures))
        self.register_buffer("counts", torch.zeros(classes))

    def partial_fit(self, images: Tensor, labels: Tensor) -> None:
        """Add what is measured on the images to the sums of their classes."""
        found = self.measure(images)
        self.sums.index_add_(0, labels, found)
        self.squares += found.square().sum(dim=0)
        self.counts += torch.bincount(labels, minlength=len(self.counts))

    def measure(self, images: Tensor) -> Tensor:
        """Return the measures of each image (N, 2 C + 4)."""
        grey = images.mean(dim=1)
        middle = [slice(side // 4, side - side // 4) for side in grey.shape[1:]]
        return torch.cat(
            [
                images.mean(dim=(2, 3)),  # its colour
                images.flatten(2).std(dim=2),  # its contrast
                torch.stack(
                    [
                        grey.diff(dim=1).abs().mean(dim=(1, 2)),  # horizontal edges
                        grey.diff(dim=2).abs().mean(dim=(1, 2)),  # vertical edges
                        grey[:, middle[0], middle[1]].mean(dim=(1, 2)) - grey.mean(dim=(1, 2)),  # centre and border
                        grey[:, : grey.shape[1] // 2].mean(dim=(1, 2)) - grey.mean(dim=(1, 2)),  # sky and ground
                    ],
                    dim=1,
                ),
            ],
            dim=1,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the negative squared distance to each class's averages, in standard deviations."""
        count = self.counts.sum().clamp(min=1)
        spread = (self.squares / count - (self.sums.sum(dim=0) / count).square()).clamp(min=1e-6).sqrt()
        averages = self.sums / self.counts[:, None].clamp(min=1)
        distances = torch.cdist(self.measure(images) / spread, averages / spread).square()
        return -distances.masked_fill(self.counts == 0, torch.inf)


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
