"""XOR: the rule goes round in a circle, and no line gets more than 3 of the 4 points right.

Why none gets 4: with a coordinate of 1 for the bias, the two points of each class have the same sum, (1, 1, 2). So for
any weights the scores of the one class add up to what those of the other do: they cannot all be positive in one and
negative in the other.
"""

from itertools import product

import torch
from torch import Tensor

from .rule import EPOCHS, right, with_bias


def exclusive_or() -> tuple[Tensor, Tensor]:
    """Return the four points of XOR and their signs: plus where exactly one coordinate is 1."""
    return torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64), torch.tensor([-1.0, 1, 1, -1]).double()


def class_sums(points: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the inputs, including bias, of the class minus and of the class plus."""
    inputs = with_bias(points)
    return inputs[signs < 0].sum(dim=0), inputs[signs > 0].sum(dim=0)


def find_cycle(points: Tensor, signs: Tensor, most: int = EPOCHS) -> list[Tensor]:
    """Return the weights after each correction of the cycle that the rule ends in; empty if it converges.

    A pass that starts with the weights of an earlier one repeats it. Weights that are whole numbers must come back: the
    perceptron cycling theorem says that they stay bounded (Block and Levin, 1970).
    """
    examples = with_bias(points) * signs[:, None]
    weights, path = torch.zeros(examples.shape[1], dtype=points.dtype), list[Tensor]()
    started: dict[tuple[float, ...], int] = {}
    for _ in range(most):
        key = tuple(weights.tolist())
        if key in started:
            return path[started[key] :]
        started[key] = len(path)
        for example in examples:
            if weights @ example <= 0:
                weights = weights + example
                path.append(weights)
    raise ValueError(f"no cycle within {most} passes")


def lines() -> list[Tensor]:
    """Return weights of lines that divide the corners of the unit square in every possible way."""
    return [torch.tensor(each).double() for each in product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5))]


def find_best_line(points: Tensor, signs: Tensor) -> tuple[Tensor, int]:
    """Return the weights of the line that classifies most of the corners correctly, and how many."""
    best = max(lines(), key=lambda weights: right(weights, points, signs))
    return best, right(best, points, signs)


def count_dichotomies(points: Tensor) -> int:
    """Return in how many ways lines divide the corners into two classes."""
    return len({tuple((with_bias(points) @ weights > 0).tolist()) for weights in lines()})
