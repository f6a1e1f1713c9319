"""Learning rate finder: try rates from tiny to far too large, suggest one where the loss falls fast.

Leslie Smith, https://arxiv.org/abs/1506.01186.
"""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import torch

from ..config.recipe import Recipe
from ..data import Dataset
from ..data.batches import batches
from ..errors import TrainingError
from ..models import Classifier
from ..optim.optimizers import LayerGroup, make_optimizers
from ..program import say
from .fit import train_mode

FIRST, LAST, STEPS = 1e-5, 10.0, 100
SMOOTHING = 0.9


def find_lr(model: Classifier, data: Dataset, recipe: Recipe, out: Path, groups: Sequence[LayerGroup] = ()) -> float:
    """Return the suggested peak rate and plot lr-find.png; the model is unusable afterwards.

    If `groups` of layers are trained at different rates, it is that of the fastest.
    """
    from ..look.plots import draw_curve  # matplotlib, which training does not need, takes a second

    rates, losses = sweep(model, data, recipe, groups or [LayerGroup([model], FIRST)])
    smooth = smoothen(losses)
    lowest = smooth.index(min(smooth))
    if lowest < 5:
        raise TrainingError("the loss does not fall at any learning rate: are the labels correct?")
    # The steepest fall by decade of the rate, and well before the lowest point.
    slopes = [smooth[at + 1] - smooth[at - 1] for at in range(1, lowest)]
    steepest = rates[1 + slopes.index(min(slopes))]
    best = min(steepest, rates[lowest] / 3)
    draw_curve(out / "lr-find.png", rates[: len(smooth)], smooth, ("learning rate", "loss"), log=True, mark=best)
    say(f"try --lr {best:.2g}\n{out / 'lr-find.png'}")
    return best


def sweep(
    model: Classifier, data: Dataset, recipe: Recipe, groups: Sequence[LayerGroup]
) -> tuple[list[float], list[float]]:
    """Return rates and losses until the loss is four times its lowest."""
    device = model.mean.device
    optimizers, fastest = make_optimizers(groups, recipe), max(group.lr for group in groups)
    train, size = data.scale_train().to(device), min(recipe.batch_size, len(data.train))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(recipe.seed))
    order = order[: max(1, len(order) // size) * size]
    rates: list[float] = []
    losses: list[float] = []
    train_mode(model)
    passes = (batch for _ in cycle([0]) for batch in batches(train, order, size, device))
    for step, (images, labels) in zip(range(STEPS), passes, strict=False):
        rates.append(FIRST * (LAST / FIRST) ** (step / (STEPS - 1)))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rates[-1] * group["peak"] / fastest
        loss = model.task.loss(model(images), labels, None, recipe.label_smoothing)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
    return rates, losses


def smoothen(losses: list[float]) -> list[float]:
    """Return a bias-corrected moving average, ending at the first non-finite value."""
    smooth: list[float] = []
    average = 0.0
    for at, loss in enumerate(losses):
        if not math.isfinite(loss):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth.append(average / (1 - SMOOTHING ** (at + 1)))
    return smooth
