"""Figures that depend on the order of the probabilities, not only on the first class."""

import math

import torch
from torch import Tensor


def top_accuracy(chances: Tensor, labels: Tensor, most: int) -> float:
    """Return the share of images whose class is among the `most` probable ones."""
    if not len(labels):
        return math.nan
    top = chances.topk(min(most, chances.shape[1]), dim=1).indices
    return (top == labels[:, None]).any(dim=1).float().mean().item()


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """Return the area under the ROC curve: how often a positive image scores higher than another one.

    Equal scores count half. It is nan if either kind is missing.
    """
    pairs = int(positive.sum()) * int((~positive).sum())
    if not pairs:
        return math.nan
    _, place, counts = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts - 1).double() / 2  # equal scores share the mean of their ranks
    wins: float = ranks[place][positive].sum().item() - int(positive.sum()) * (int(positive.sum()) + 1) / 2
    return wins / pairs


def class_areas(chances: Tensor, labels: Tensor) -> list[float]:
    """Return for each class the area under the ROC curve of that class against all others."""
    return [area_under_curve(chances[:, at], labels == at) for at in range(chances.shape[1])]


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Return the mean precision over the recalls that are reached, as scikit-learn computes it.

    It is nan if no image is positive.
    """
    total = int(positive.sum())
    if not total:
        return math.nan
    order = scores.argsort(descending=True, stable=True)
    ranked, hits = scores[order], positive[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])  # of those with an equal score
    precision = (hits / torch.arange(1, len(hits) + 1))[last]
    found: float = (hits[last].diff(prepend=torch.zeros(1, dtype=hits.dtype)) * precision).sum().item() / total
    return found
