"""Figures of predictions of several labels for each image: each label is a question of its own."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .intervals import wilson
from .ranking import area_under_curve, average_precision


def measure_labels(chances: Tensor, truth: Tensor, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return the figures of probabilities and labels (N, C) as plain values; None for what is undefined.

    The baseline is the mean average precision of a model that guesses: the share of images that have a label.
    """
    said, true = chances >= threshold, truth > 0.5
    right, given, there = ((each).sum(dim=0).tolist() for each in (said & true, said, true))
    precisions = [average_precision(chances[:, at], true[:, at]) for at in range(len(classes))]
    areas = [area_under_curve(chances[:, at], true[:, at]) for at in range(len(classes))]
    scores = f1_scores(chances, truth, threshold)
    exact = wilson((said == true).all(dim=1).float().mean().item(), len(truth))
    logs = (
        chances.clamp(1e-7, 1 - 1e-7).log() * truth + (1 - chances).clamp(1e-7, 1 - 1e-7).log() * (1 - truth)
    ).mean()
    return {
        "images": len(truth),
        "mAP": mean(precisions),
        "baseline_mAP": mean([share if share else math.nan for share in true.float().mean(dim=0).tolist()]),
        "threshold": threshold,
        "f1": mean(scores),
        "f1_micro": 2 * sum(right) / max(1, sum(given) + sum(there)),
        "exact": exact.value,
        "exact_interval": [exact.low, exact.high],
        "loss": -logs.item(),
        "classes": [
            {
                "class": name,
                "images": there[at],
                "precision": right[at] / given[at] if given[at] else None,
                "recall": right[at] / there[at] if there[at] else None,
                "f1": known(scores[at]),
                "ap": known(precisions[at]),
                "auc": known(areas[at]),
            }
            for at, name in enumerate(classes)
        ],
    }


def f1_scores(chances: Tensor, truth: Tensor, threshold: float) -> list[float]:
    """Return the F1 of each label; nan for one that no image has."""
    said, true = chances >= threshold, truth > 0.5
    right = (said & true).sum(dim=0).double()
    found = 2 * right / (said.sum(dim=0) + true.sum(dim=0)).clamp(min=1)
    found[~true.any(dim=0)] = math.nan
    scores: list[float] = found.tolist()
    return scores


def mean(values: Sequence[float]) -> float:
    """Return the mean of the numbers that are defined; 0 if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else 0.0


def known(value: float) -> float | None:
    """Return a number, or None if it is undefined: JSON has no word for that."""
    return None if math.isnan(value) else value
