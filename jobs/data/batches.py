"""Batches on the device, from memory or from processes that decode ahead."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import DataError
from ..images.decoding import Files
from ..program import say
from .dataset import Split
from .decoders import Decoders


def batches(
    split: Split, order: Tensor, batch_size: int, device: torch.device, decoders: Decoders | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (N, C, H, W), and labels (N,) in this order; the last batch may be smaller.

    Files are decoded by `decoders`, or by processes of this call's own. A corrupt image is reported and replaced by a grey
    one. Raises DataError instead if the files are strict.
    """
    if not len(order):
        return
    if not isinstance(split.images, Files):
        for index in order.to(split.labels.device).split(batch_size):
            yield send(split.images[index], device), send(split.labels[index], device)
        return
    if decoders is None:
        with Decoders(device) as own:
            yield from batches(split, order, batch_size, device, own)
        return
    chunks = [split.images.take(chunk.tolist()) for chunk in order.split(batch_size)]
    labels = split.labels.to(device)[order.to(device)].split(batch_size)
    for (images, broken), wanted in zip(decoders.decode(chunks), labels, strict=True):
        for reason in broken:
            if split.images.strict:
                raise DataError(f"{reason} (without --strict a grey image replaces it)")
            say(f"broken: {reason}")
        yield images.to(device, non_blocking=True), wanted


def send(values: Tensor, device: torch.device) -> Tensor:
    """Return values on the device, without waiting for the copy to a GPU."""
    if device.type == "cuda" and values.device != device:
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
