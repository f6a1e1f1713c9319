"""Figures of predicted numbers: how far they are off, and how much better than a constant."""

from typing import Any

from torch import Tensor

from .intervals import paired_difference


def measure_numbers(said: Tensor, truth: Tensor, constant: float) -> dict[str, Any]:
    """Return the figures of predicted and true numbers (N,) as plain values; R2 is None if all are equal.

    The baseline always predicts the `constant`, the mean of the training images. The interval of the mean absolute error
    is a bootstrap's over the images.
    """
    said, truth = said.double(), truth.double()
    off = said - truth
    errors = off.abs()
    interval = paired_difference([0.0] * len(errors), errors.tolist())
    spread = (truth - truth.mean()).square().sum().item()
    return {
        "images": len(truth),
        "mae": interval.value,
        "interval": [interval.low, interval.high],
        "rmse": off.square().mean().sqrt().item(),
        "median": errors.median().item(),
        "bias": off.mean().item(),
        "r2": 1 - off.square().sum().item() / spread if spread else None,
        "baseline_mae": (truth - constant).abs().mean().item(),
    }
