"""Real data that a line can tell apart: Fisher's irises (1936), and pairs of handwritten digits."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

SEPAL, PETAL = ("sepal length", "sepal width"), ("petal length", "petal width")


@dataclass(frozen=True)
class Problem:
    """Points (N, coordinates) and the side of each (N,), -1 or 1."""

    name: str
    points: Tensor
    signs: Tensor
    axes: tuple[str, ...] = ()
    """What the coordinates are, if there are few."""


def flowers(axes: tuple[str, ...], centred: bool) -> Problem:
    """Return 50 iris setosa (-1) and 50 versicolor (1) by `axes`, in cm, less their means if `centred`."""
    from sklearn.datasets import load_iris

    found = load_iris()
    names = [name.removesuffix(" (cm)") for name in found.feature_names]
    kept = found.target < 2
    points = torch.from_numpy(found.data[kept][:, [names.index(axis) for axis in axes]])
    if centred:
        points = points - points.mean(dim=0)
    what = axes[0].split()[0] + (", centred" if centred else "")
    return Problem(f"iris {what}", points, torch.from_numpy(found.target[kept]).double() * 2 - 1, axes)


def digits(one: int, other: int) -> Problem:
    """Return the 8 x 8 pixels of two handwritten digits; Rosenblatt's machine had 20 x 20."""
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = (found.target == one) | (found.target == other)
    signs = torch.from_numpy((found.target[kept] == other).astype(float)) * 2 - 1
    return Problem(f"digits {one} and {other}", torch.from_numpy(found.data[kept]) / 16, signs)


def shuffle(problem: Problem, seed: int) -> Problem:
    """Return a problem with its points in random order: the files list one class after the other."""
    order = torch.randperm(len(problem.points), generator=torch.Generator().manual_seed(seed))
    return replace(problem, points=problem.points[order], signs=problem.signs[order])


def separable(seed: int) -> list[Problem]:
    """Return the problems of the first act, the easiest first."""
    found = [
        flowers(PETAL, centred=True),
        digits(0, 1),
        digits(4, 9),
        flowers(PETAL, centred=False),
        digits(3, 8),
        flowers(SEPAL, centred=False),
    ]
    return [shuffle(each, seed) for each in found]
