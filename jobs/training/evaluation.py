"""Predict classes for images, and measure accuracy."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import batches
from ..data.decoders import Decoders
from ..data.memory import limit_batch
from ..models import Classifier
from .distributed import DistributedContext

BATCH = 500


@torch.inference_mode()
def predict(model: Classifier, split: Split, tta: bool = False, batch_size: int = BATCH) -> Tensor:
    """Return the answers (N, classes), float32 on the CPU: probabilities, or numbers."""
    labelled = split if len(split.labels) else replace(split, labels=torch.zeros(len(split), dtype=torch.int64))
    return torch.cat([model.task.answer(logits) for logits, _ in ask(model, labelled, tta, batch_size)]).cpu()


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


def evaluate(
    model: Classifier,
    split: Split,
    tta: bool = False,
    context: DistributedContext | None = None,
    batch_size: int = BATCH,
    decoders: Decoders | None = None,
) -> float:
    """Return the accuracy, or the figure that leads in the model's task."""
    return measure(model, split, tta, context, batch_size, decoders)[model.task.lead]


@torch.inference_mode()
def measure(
    model: Classifier,
    split: Split,
    tta: bool = False,
    context: DistributedContext | None = None,
    batch_size: int = BATCH,
    decoders: Decoders | None = None,
) -> dict[str, float]:
    """Return the figures of the model's task; each of several processes evaluates a share of the images.

    What they are computed from is kept where it is, and read once.
    """
    rank, world, count = (context.rank, context.world, len(split)) if context else (0, 1, len(split))
    # A process without a share takes an image of another's: how wide a row is has to be known.
    mine = split.take(torch.arange(min(rank, count - 1), count, world)) if world > 1 else split
    rows = torch.cat([model.task.keep(*each) for each in ask(model, mine, tta, batch_size, decoders)])
    if context and world > 1:
        whole = torch.zeros(count, rows.shape[1], device=context.device)
        whole[rank::world] = rows[: len(range(rank, count, world))].to(whole)
        rows = context.total(whole)
    return model.task.measure(rows.cpu())
