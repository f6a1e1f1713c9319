"""Predict classes for images, and measure accuracy."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import batches
from ..data.decoders import Decoders
from ..data.memory import limit_batch
from .distributed import DistributedContext

BATCH = 500


@torch.inference_mode()
def predict(model: nn.Module, split: Split, tta: bool = False, batch_size: int = BATCH) -> Tensor:
    """Return the probabilities (N, classes), float32 on the CPU."""
    labelled = split if len(split.labels) else replace(split, labels=torch.zeros(len(split), dtype=torch.int64))
    return torch.cat([logits.softmax(dim=1) for logits, _ in ask(model, labelled, tta, batch_size)]).cpu()


def ask(
    model: nn.Module, split: Split, tta: bool, batch_size: int, decoders: Decoders | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (N, classes) and labels (N,) on the model's device.

    Always in float32, so that a loaded model reproduces the reported accuracy. With `tta`, averages over each image and
    its mirror image.
    """
    device = next(iter(model.state_dict().values())).device
    model.eval()
    at_once = limit_batch(batch_size, split.shape)
    for images, labels in batches(split, torch.arange(len(split)), at_once, device, decoders):
        logits = model(images)
        if tta:
            logits = (logits + model(images.flip(3))) / 2
        yield logits.float(), labels


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    split: Split,
    tta: bool = False,
    context: DistributedContext | None = None,
    batch_size: int = BATCH,
    decoders: Decoders | None = None,
) -> float:
    """Return the accuracy; each of several processes evaluates a share of the images.

    The right answers are counted where they are computed, and read once.
    """
    rank, world, count = (context.rank, context.world, len(split)) if context else (0, 1, len(split))
    mine = split.take(torch.arange(rank, count, world)) if world > 1 else split
    right = [(logits.argmax(dim=1) == labels).sum() for logits, labels in ask(model, mine, tta, batch_size, decoders)]
    total = torch.stack(right).sum() if right else torch.zeros((), dtype=torch.int64)
    if context and world > 1:
        total = context.total(total.to(context.device))
    return int(total) / count
