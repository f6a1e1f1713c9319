"""Any number of labels for each image: a question for each, sigmoid and binary cross-entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ..config.data import MULTI, THRESHOLD
from ..scores.labels import f1_scores, mean
from ..scores.ranking import average_precision
from .task import Task


def loss(outputs: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the mean surprise over images and labels; smoothing moves 0 and 1 towards one half."""
    targets = targets * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(outputs, targets, pos_weight=weights)


def weigh(labels: Tensor, count: int) -> Tensor:  # noqa: ARG001  the signature is Task's
    """Return for each label how many images without it there are for each with it, as its weight."""
    positive = labels.cpu().sum(dim=0)
    return (len(labels) - positive).clamp(min=1) / positive.clamp(min=1)


def keep(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the probabilities, and whether the labels are right: (N, 2 C)."""
    return torch.cat([outputs.sigmoid(), labels], dim=1)


def measure(rows: Tensor) -> dict[str, float]:
    """Return the mean average precision and the mean F1 over the labels that there are; 0 without any."""
    chances, truth = rows.chunk(2, dim=1)
    return {
        "mAP": mean([average_precision(each, true > 0.5) for each, true in zip(chances.T, truth.T, strict=True)]),
        "F1": mean(f1_scores(chances, truth, THRESHOLD)),
    }


def word(label: Tensor, classes: Sequence[str]) -> str:
    """Return the names of an image's labels."""
    return " + ".join(classes[at] for at in (label > 0.5).nonzero().flatten().tolist()) or "none"


MULTI_LABEL = Task(
    MULTI,
    lead="mAP",
    output="probabilities",
    loss=loss,
    answer=torch.sigmoid,
    shares=lambda labels, count: labels,  # noqa: ARG005  the signature is Task's
    weigh=weigh,
    strata=lambda labels: torch.zeros(len(labels), dtype=torch.int64),
    keep=keep,
    measure=measure,
    word=word,
    about=lambda classes: f"{len(classes)} labels, any number of them for each",
    least=1,
)
