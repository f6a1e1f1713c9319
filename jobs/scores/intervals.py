"""How far a figure can be trusted, given how many images it was measured on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964
"""Of the normal distribution: 95% lie within so many standard deviations."""
RESAMPLES = 4_000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def wilson(share: float, count: int) -> Interval:
    """Return the interval of a share of `count` images (Wilson 1927): never below 0 or above 1.

    It is what other images of the same kind would show; repeated training is another matter.
    """
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    square = Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return how much better the second model is on the same images, by a paired bootstrap (Efron 1979).

    Each value is a model's score on one image: 0 or 1, or the mean over several trainings.
    """
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    # Drawing images again is drawing again how often each difference occurs, of which there are few.
    values, counts = np.unique(difference, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(difference), counts / counts.sum(), size=RESAMPLES)
    low, high = np.quantile(drawn @ values / len(difference), (0.025, 0.975))
    return Interval(float(difference.mean()), float(low), float(high))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return how likely two equally good models disagree at least this one-sidedly (McNemar 1947, exact)."""
    from scipy.stats import binomtest  # takes a second

    pairs = list(zip(first, second, strict=True))
    gained, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
