"""What a model gets wrong: the worst losses, confused classes, and the calibration of its confidence."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import Split
from ..data.images import Files
from .inside import picture
from .plots import BLUE, GREY, figure

BINS = 10
MOST_CLASSES = 40
"""A confusion matrix of more classes cannot be read."""


@dataclass(frozen=True)
class Confusion:
    """Two classes, and how often the one was taken for the other."""

    truth: str
    said: str
    count: int


def confusion_matrix(chances: Tensor, labels: Tensor) -> Tensor:
    """Return counts, a row for each true class and a column for each one said."""
    classes = chances.shape[1]
    return torch.bincount(labels * classes + chances.argmax(dim=1), minlength=classes**2).view(classes, classes)


def most_confused(matrix: Tensor, classes: tuple[str, ...], most: int = 10) -> list[Confusion]:
    """Return the pairs of classes that are confused most, the worst first."""
    wrong = matrix.clone().fill_diagonal_(0).flatten()
    worst = wrong.argsort(descending=True, stable=True)[:most].tolist()
    size = len(classes)
    return [Confusion(classes[at // size], classes[at % size], int(wrong[at])) for at in worst if wrong[at]]


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


def draw_confusion(matrix: Tensor, classes: tuple[str, ...], path: Path) -> None:
    """Draw the matrix, each row in shares of its class."""
    shares = matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)
    side = max(4.0, 0.45 * len(classes) + 1.5)
    with figure(path, size=(side, side)) as axis:
        axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(classes)), classes, rotation=60, ha="right")
        axis.set_yticks(range(len(classes)), classes)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        for y, x in matrix.nonzero().tolist() if len(classes) <= 20 else ():
            axis.text(
                x,
                y,
                int(matrix[y, x]),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shares[y, x] > 0.5 else "black",
            )


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
        axis.set_title(f"expected calibration error {error:.3f}")
        axis.legend()
    return error


def draw_worst(split: Split, chances: Tensor, classes: tuple[str, ...], path: Path, most: int = 12) -> None:
    """Draw the images with the highest loss: what it said, what is true, how sure it was of the truth."""
    truth = chances.gather(1, split.labels.cpu()[:, None]).flatten()
    worst = truth.argsort()[:most]
    columns = min(3, len(worst))  # what is narrow can be read on a phone
    rows = -(-len(worst) // 3)
    with figure(path, rows, columns, (1.5 * columns, 1.85 * rows)) as axes:
        for at, axis in enumerate(np.ravel(axes)):
            axis.axis("off")
            if at < len(worst):
                index = int(worst[at])
                axis.imshow(picture(read(split, index)), cmap="gray")
                said, true = classes[int(chances[index].argmax())], classes[int(split.labels[index])]
                axis.set_title(f"predicted {said}\nis {true} ({truth[index]:.0%})", fontsize=9)


def read(split: Split, index: int) -> Tensor:
    """Return one image, uint8 (C, H, W), from memory or its file."""
    return split.images.read(index) if isinstance(split.images, Files) else split.images[index].cpu()
