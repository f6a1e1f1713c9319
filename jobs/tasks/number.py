"""A number for each image: one output, in standard deviations from the mean of the training images."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..config.data import REGRESSION
from .task import Task


def loss(
    centre: float,
    scale: float,
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,  # noqa: ARG001  of classes only, like smoothing
    smoothing: float = 0.0,  # noqa: ARG001
) -> Tensor:
    """Return Huber's loss: squared for small errors, linear for large ones, so outliers do not rule."""
    return smooth_l1_loss(outputs, (targets - centre) / scale)


def keep(centre: float, scale: float, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the number that was predicted, and the true one: (N, 2)."""
    return torch.cat([answer(centre, scale, outputs), labels], dim=1)


def answer(centre: float, scale: float, outputs: Tensor) -> Tensor:
    """Return outputs in the unit of the data."""
    return outputs * scale + centre


def measure(rows: Tensor) -> dict[str, float]:
    """Return the mean absolute error, and the root of the mean squared one, which large errors dominate."""
    off = (rows[:, 0] - rows[:, 1]).double()
    return {"MAE": off.abs().mean().item(), "RMSE": off.square().mean().sqrt().item()}


def make_regression(centre: float, scale: float) -> Task:
    """Return the task of predicting a number with this mean and standard deviation."""
    return Task(
        REGRESSION,
        lead="MAE",
        output="values",
        loss=partial(loss, centre, scale),
        answer=partial(answer, centre, scale),
        shares=lambda labels, count: labels,  # noqa: ARG005  the signature is Task's
        weigh=lambda labels, count: labels.new_ones(count),  # check_request refuses it
        strata=lambda labels: torch.zeros(len(labels), dtype=torch.int64),
        keep=partial(keep, centre, scale),
        measure=measure,
        word=lambda label, classes: f"{float(label):.6g}",  # noqa: ARG005
        about=lambda classes: f"a number to predict: {classes[0]}",
        least=1,
        sign=-1,
        centre=centre,
        scale=scale,
    )
