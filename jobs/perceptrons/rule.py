"""Rosenblatt's rule (1958), and Novikoff's bound on its mistakes (1962).

The rule adds a misclassified example to the weights, or subtracts it. If some plane through the origin keeps all
examples at a distance of `margin` or more, it makes at most (R / margin)^2 mistakes, with R the longest example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EPOCHS = 1000
HEAVY = 1e3
"""Weight of the condition that the shares of the examples add up to 1."""


@dataclass(frozen=True)
class Learned:
    """The result of the learning rule."""

    path: tuple[Tensor, ...]
    """The weights at the start, all zero, and after each correction: one per coordinate, and the bias last."""
    passes: int
    converged: bool
    """Whether a whole pass made no mistake."""

    @property
    def weights(self) -> Tensor:
        """Return the last weights."""
        return self.path[-1]

    @property
    def mistakes(self) -> int:
        """Return the number of mistakes, each followed by a correction."""
        return len(self.path) - 1


def with_bias(points: Tensor) -> Tensor:
    """Append a coordinate of 1, whose weight is the bias."""
    return torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)


def learn(points: Tensor, signs: Tensor, epochs: int = EPOCHS) -> Learned:
    """Apply Rosenblatt's rule point by point until a pass makes no mistake, at most `epochs` passes."""
    examples = list((with_bias(points) * signs[:, None]).numpy())  # a product of arrays takes a fifth of the time
    path = [0 * examples[0]]
    for number in range(1, epochs + 1):
        before = len(path)
        for example in examples:
            if path[-1] @ example <= 0:
                path.append(path[-1] + example)
        if len(path) == before:
            return Learned(tuple(map(torch.from_numpy, path)), number, converged=True)
    return Learned(tuple(map(torch.from_numpy, path)), epochs, converged=False)


def widest(points: Tensor, signs: Tensor) -> Tensor:
    """Return the weights, of length 1, of the line with the largest margin, if any line separates.

    They point to the mixture of the signed examples that is nearest to the origin, a least-squares problem with
    shares of zero or more.
    """
    from scipy.optimize import nnls

    examples = with_bias(points) * signs[:, None]
    rows = torch.cat([examples.T, torch.full((1, len(examples)), HEAVY, dtype=points.dtype)])
    goal = torch.zeros(len(rows), dtype=points.dtype)
    goal[-1] = HEAVY
    shares, _ = nnls(rows.numpy(), goal.numpy())
    nearest: Tensor = examples.T @ torch.from_numpy(shares)
    found: Tensor = nearest / nearest.norm()
    return found


def margin(weights: Tensor, points: Tensor, signs: Tensor) -> float:
    """Return the distance of the nearest point from the plane; negative if on the wrong side."""
    return float((with_bias(points) @ weights * signs).min() / weights.norm())


def mistake_bound(points: Tensor, signs: Tensor) -> float:
    """Return Novikoff's bound on the mistakes, (R / margin)^2; infinite if no line separates.

    The margin is that of weights that were found, so the bound holds even if wider ones exist.
    """
    found = margin(widest(points, signs), points, signs)
    return float(with_bias(points).norm(dim=1).max() / found) ** 2 if found > 0 else float("inf")


def right(weights: Tensor, points: Tensor, signs: Tensor) -> int:
    """Return how many points the weights classify correctly."""
    return int(((with_bias(points) @ weights) * signs > 0).sum())
