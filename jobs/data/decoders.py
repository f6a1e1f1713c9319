"""Processes that decode image files ahead of training, and stay until they are closed.

Starting them takes as long as decoding hundreds of images, so an epoch should not have to.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..images.decoding import BrokenImageError, Files

MOST_WORKERS = 16
"""Each holds up to three batches: more would need gigabytes of shared memory."""
GREY = 128

Decoded = tuple[Tensor, list[str]]
"""Images, uint8 (N, C, H, W), and why some of them could not be read."""


class Decoders:
    """Decode batches of files in worker processes, in order; `with` ends the processes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.queue: list[Files] = []
        self.loader: DataLoader[Decoded] | None = None
        self.busy = False

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *error: object) -> None:
        self.loader = None  # torch's iterator ends its processes when it is no longer used

    def decode(self, chunks: Sequence[Files]) -> Iterator[Decoded]:
        """Yield the images of each chunk, in memory from which a GPU can copy at once."""
        if self.busy:  # torch starts over where two loops share a loader
            with Decoders(self.device) as others:
                yield from others.decode(chunks)
            return
        self.queue[:] = chunks
        self.loader = self.loader or self.start()
        self.busy = True
        try:
            yield from self.loader
        finally:
            self.busy = False

    def start(self) -> "DataLoader[Decoded]":
        """Return a loader of what is in the queue whenever it is iterated over."""
        return DataLoader(
            Pixels(),
            batch_size=None,
            sampler=self.queue,
            num_workers=count_workers(),
            collate_fn=keep,
            pin_memory=self.device.type == "cuda",
            persistent_workers=True,
            multiprocessing_context="fork" if self.device.type == "cpu" else None,
        )


class Pixels(Dataset[Decoded]):
    """Decodes in a worker process what it is asked for."""

    def __getitem__(self, files: Files) -> Decoded:
        """Return the images of these files; a broken one is grey, and its reason is named."""
        # Channels last, as decoders write them and convolutions prefer them.
        pixels = torch.full((len(files), files.size, files.size, files.channels), GREY, dtype=torch.uint8)
        images = pixels.permute(0, 3, 1, 2)
        broken = []
        for at in range(len(files)):
            try:
                images[at] = files.read(at)
            except BrokenImageError as error:
                broken.append(str(error))
        return images, broken


def keep(decoded: Any) -> Any:
    """Return it as it is."""
    return decoded


def count_workers() -> int:
    """Return one for each core that this process may use; processes of torchrun share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
