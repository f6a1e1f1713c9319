"""Training progress, and the learning rate and momentum that follow from it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch.optim import Optimizer

from ..config.recipe import Recipe

START, END = 1 / 25, 1 / 250_000
"""First and last rate of one-cycle as fractions of the peak, as in Smith and Topin, and torch."""
MOMENTUM = (0.85, 0.95)
"""Momentum falls as the rate rises (https://arxiv.org/abs/1803.09820)."""


@dataclass
class Clock:
    """The training time of a run across resumptions, in seconds."""

    spent_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def read(self) -> float:
        """Return the seconds so far."""
        return self.spent_s + time.monotonic() - self.started


def progress(recipe: Recipe, step: int, steps: int, spent_s: float) -> float:
    """Return the progress from 0 to 1, by steps or time, whichever is further."""
    by_time = spent_s / recipe.time_budget_s if recipe.time_budget_s else 0.0
    return min(1.0, max(step / steps, by_time))


def rate(recipe: Recipe, done: float) -> float:
    """Return the learning rate as a fraction of its peak; `done` goes from 0 to 1."""
    if done < recipe.warm_up and recipe.schedule != "constant":
        return anneal(START, 1.0, done / recipe.warm_up)
    if recipe.schedule == "constant":
        return 1.0
    end = END if recipe.schedule == "one-cycle" else 0.0
    return anneal(1.0, end, (done - recipe.warm_up) / (1 - recipe.warm_up))


def momentum(recipe: Recipe, done: float) -> float:
    """Return the momentum: high, low at the peak rate, high again; 0.9 in other schedules."""
    low, high = MOMENTUM
    if recipe.schedule != "one-cycle":
        return 0.9
    if done < recipe.warm_up:
        return anneal(high, low, done / recipe.warm_up)
    return anneal(low, high, (done - recipe.warm_up) / (1 - recipe.warm_up))


def anneal(start: float, end: float, share: float) -> float:
    """Interpolate along half a cosine wave from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def set_rates(optimizers: Sequence[Optimizer], recipe: Recipe, done: float) -> None:
    """Set each group's current learning rate, as a fraction of its own peak."""
    factor, keep = rate(recipe, done), momentum(recipe, done)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["peak"] * factor
        if "betas" in group:
            group["betas"] = (keep, group["betas"][1])
        else:
            group["momentum"] = keep
