"""A model's errors: the worst ones, confused classes, and the calibration of its confidence."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data import Split
from ..images.decoding import Files
from .inside import picture
from .names import isolate, shorten
from .plots import BLUE, GREY, figure
from .report import Tile

BINS = 10
MOST_ERRORS = 12
MOST_LETTERS = 60
"""Of a class's name under a picture."""


@dataclass(frozen=True)
class Confusion:
    """Two classes, and how often the first was predicted as the second."""

    truth: str
    said: str
    count: int


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognized; without test images only the precision is defined."""

    name: str
    images: int
    precision: float
    """0 if the class is never predicted."""
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


# No function here needs memory for each pair of classes: 10,000 classes have a hundred million.


def most_confused(labels: Tensor, said: Tensor, classes: tuple[str, ...], most: int = 10) -> list[Confusion]:
    """Return the pairs of classes that are confused most often."""
    wrong = labels != said
    pairs, counts = torch.unique(labels[wrong] * len(classes) + said[wrong], return_counts=True)
    worst = counts.argsort(descending=True, stable=True)[:most]
    found = zip(pairs[worst].tolist(), counts[worst].tolist(), strict=True)
    return [Confusion(classes[pair // len(classes)], classes[pair % len(classes)], count) for pair, count in found]


def hardest_classes(labels: Tensor, said: Tensor, count: int, most: int) -> Tensor:
    """Return the `most` of `count` classes that take part in the most errors, in their own order."""
    wrong = labels != said
    errors = labels[wrong].bincount(minlength=count) + said[wrong].bincount(minlength=count)
    return errors.argsort(descending=True, stable=True)[:most].sort().values


def confusion_matrix(labels: Tensor, said: Tensor, count: int, shown: Tensor) -> Tensor:
    """Return how often each class `shown` (row) was predicted as each of them, or another (column).

    The last column is for the other classes.
    """
    size = len(shown)
    place = torch.full((count,), size)
    place[shown] = torch.arange(size)
    cells = place[labels] * (size + 1) + place[said]
    return cells.bincount(minlength=(size + 1) ** 2).view(size + 1, size + 1)[:size]


def score_classes(labels: Tensor, said: Tensor, classes: tuple[str, ...]) -> list[ClassScore]:
    """Return precision and recall of each class."""
    right, true, predicted = (each.bincount(minlength=len(classes)) for each in (labels[labels == said], labels, said))
    precision, recall = ((right / count.clamp(min=1)).tolist() for count in (predicted, true))
    return [ClassScore(name, int(true[at]), precision[at], recall[at]) for at, name in enumerate(classes)]


def majority_baseline(train: Tensor, test: Tensor) -> tuple[int, float]:
    """Return the most frequent training class, and the test accuracy of always predicting it."""
    most = int(train.bincount().argmax())
    return most, (test == most).float().mean().item()


def calibration(chances: Tensor, labels: Tensor) -> tuple[list[float], list[float], list[int], float]:
    """Return mean confidence, accuracy and count in ten bins of confidence, and the calibration error.

    The error (Guo et al., arXiv:1706.04599) is the mean distance of both, weighted by the images in each bin.
    """
    confidence, said = chances.max(dim=1)
    right = (said == labels).float()
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    mean = [t / counts.clamp(min=1) for t in (torch.bincount(bins, w, minlength=BINS) for w in (confidence, right))]
    error = ((mean[0] - mean[1]).abs() * counts).sum() / len(labels)
    return mean[0].tolist(), mean[1].tolist(), counts.tolist(), error.item()


def draw_calibration(chances: Tensor, labels: Tensor, path: Path) -> float:
    """Draw accuracy over confidence; return the expected calibration error."""
    confidence, accuracy, counts, error = calibration(chances, labels)
    filled = [at for at in range(BINS) if counts[at]]
    with figure(path, size=(4.6, 4.2)) as axis:
        axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfectly calibrated")
        axis.plot(
            [confidence[at] for at in filled], [accuracy[at] for at in filled], "o-", color=BLUE, label="this model"
        )
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy")
        axis.legend()
    return error


def show_worst(split: Split, chances: Tensor, classes: tuple[str, ...]) -> tuple[Tile, ...]:
    """Return the misclassified images with the highest loss: predicted and true class, and the file."""
    labels = split.labels.cpu()
    wrong = (chances.argmax(dim=1) != labels).nonzero().flatten()
    truth = chances.gather(1, labels[:, None]).flatten()
    worst = wrong[truth[wrong].argsort(stable=True)][:MOST_ERRORS].tolist()
    return tuple(
        Tile(
            picture(read(split, index)),
            (
                f"predicted {brief(classes[int(chances[index].argmax())])} ({chances[index].max():.0%})",
                f"true {brief(classes[int(labels[index])])} ({truth[index]:.0%})",
                Path(split.names[index]).name if split.names else f"test image {index}",
            ),
        )
        for index in worst
    )


def brief(name: str) -> str:
    """Return a class's name for a caption."""
    return isolate(shorten(name, MOST_LETTERS))


def read(split: Split, index: int) -> Tensor:
    """Return one image, uint8 (C, H, W), from memory or its file."""
    return split.images.read(index) if isinstance(split.images, Files) else split.images[index].cpu()
