"""One class for each image: softmax and cross-entropy, judged by how often it is right."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..config.data import SINGLE
from .task import Task


def loss(outputs: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return how surprised the network is by the true classes: (N,), or shares of them (N, C)."""
    return cross_entropy(outputs, targets, weights, label_smoothing=smoothing)


def answer(outputs: Tensor) -> Tensor:
    """Return probabilities, which add up to 1."""
    return outputs.softmax(dim=1)


def shares(labels: Tensor, count: int) -> Tensor:
    """Return 1 for the class of each image, and 0 for the others."""
    return (labels[:, None] == torch.arange(count, device=labels.device)).float()  # one_hot() may wait for a device


def weigh_classes(labels: Tensor, count: int) -> Tensor:
    """Return a weight for each class, the inverse of its frequency: 1 on average over the images."""
    counts = labels.cpu().bincount(minlength=count).float()
    return len(labels) / (counts.clamp(min=1) * max(1, int((counts > 0).sum())))


def keep(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image's most probable class is right."""
    return (outputs.argmax(dim=1) == labels)[:, None]


def measure(rows: Tensor) -> dict[str, float]:
    """Return the accuracy."""
    return {"accuracy": int(rows.sum()) / len(rows)}


def word(label: Tensor, classes: Sequence[str]) -> str:
    """Return the name of the class."""
    return classes[int(label)]


SINGLE_LABEL = Task(
    SINGLE,
    lead="accuracy",
    output="logits",
    loss=loss,
    answer=answer,
    shares=shares,
    weigh=weigh_classes,
    strata=lambda labels: labels,
    keep=keep,
    measure=measure,
    word=word,
    about=lambda classes: f"{len(classes)} classes",
)
