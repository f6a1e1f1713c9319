"""Batches on the device, from memory or from a DataLoader that decodes ahead."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError
from ..images.decoding import BrokenImageError, Files
from ..program import say
from .dataset import Split

WORKERS = 2


def batches(split: Split, order: Tensor, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (N, C, H, W), and labels (N,) in this order; the last batch may be smaller.

    A corrupt image is reported and replaced by a grey one. Raises DataError instead if the files are strict.
    """
    if not len(order):
        return
    if not isinstance(split.images, Files):
        for index in order.to(split.labels.device).split(batch_size):
            yield split.images[index].to(device), split.labels[index].to(device)
        return
    chunks = [chunk.tolist() for chunk in order.split(batch_size)]
    loader = DataLoader(
        Decoded(split.images),
        batch_sampler=chunks,
        collate_fn=join,
        num_workers=WORKERS,
        pin_memory=device.type == "cuda",
        multiprocessing_context="fork" if device.type == "cpu" else None,
    )
    labels = split.labels.cpu()
    for (images, broken), chunk in zip(loader, chunks, strict=True):
        for reason in broken:
            if split.images.strict:
                raise DataError(f"{reason} (without --strict a grey image replaces it)")
            say(f"broken: {reason}")
        yield images.to(device, non_blocking=True), labels[chunk].to(device)


class Decoded(Dataset[Tensor | str]):
    """Files as a torch data set; a broken file yields the reason instead."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __getitem__(self, index: int) -> Tensor | str:
        """Return the pixels of one file."""
        try:
            return self.files.read(index)
        except BrokenImageError as error:
            return str(error)


def join(images: list[Tensor | str]) -> tuple[Tensor, list[str]]:
    """Collate a batch and the reasons for broken images, which are replaced by grey ones."""
    whole = [image for image in images if isinstance(image, Tensor)]
    blank = torch.full_like(whole[0], 128) if whole else torch.full((3, 8, 8), 128, dtype=torch.uint8)
    broken = [image for image in images if isinstance(image, str)]
    return torch.stack([image if isinstance(image, Tensor) else blank for image in images]), broken
