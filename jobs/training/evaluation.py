"""Predict classes for images, and measure accuracy."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import batches
from ..data.memory import limit_batch
from .distributed import DistributedContext

BATCH = 500


@torch.inference_mode()
def predict(model: nn.Module, split: Split, tta: bool = False, batch_size: int = BATCH) -> Tensor:
    """Return the probabilities (N, classes), float32 on the CPU.

    Always in float32, so that a loaded model reproduces the reported accuracy. With `tta`, averages over each image and
    its mirror image.
    """
    device = next(iter(model.state_dict().values())).device
    model.eval()
    count = len(split)
    labelled = split if len(split.labels) else replace(split, labels=torch.zeros(count, dtype=torch.int64))
    found = []
    for images, _ in batches(labelled, torch.arange(count), limit_batch(batch_size, split.shape), device):
        logits = model(images)
        if tta:
            logits = (logits + model(images.flip(3))) / 2
        found.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(found)


def evaluate(
    model: nn.Module,
    split: Split,
    tta: bool = False,
    context: DistributedContext | None = None,
    batch_size: int = BATCH,
) -> float:
    """Return the accuracy; each of several processes evaluates a share of the images."""
    rank, world, count = (context.rank, context.world, len(split)) if context else (0, 1, len(split))
    mine = split.take(torch.arange(rank, count, world)) if world > 1 else split
    right = torch.zeros(())
    if len(mine):
        right += (predict(model, mine, tta, batch_size).argmax(dim=1) == mine.labels.cpu()).sum()
    if context and world > 1:
        right = context.total(right.to(context.device))
    return round(right.item()) / count


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.half != self.half else f"{self.mean:.4f} ± {self.half:.4f}"


def interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % confidence interval of repeated measurements; nan for a single one."""
    from scipy.stats import t  # takes a second, and training does without it

    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan)
    return Interval(mean, float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5)
