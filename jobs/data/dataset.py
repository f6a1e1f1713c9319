"""A data set and its splits, as frozen dataclasses."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import DataError
from ..images.decoding import CROP, Files, Square
from ..images.depth import Levels
from ..tasks import SINGLE_LABEL, Task

MOVED = -1
"""In an order: the image is already where it belongs."""


@dataclass(frozen=True)
class Split:
    """Images and their labels, in the same order."""

    images: Tensor | Files
    """uint8 (N, C, H, W) in memory, or files if they do not fit."""
    labels: Tensor
    """Classes, int64 (N,); or float32, labels of 0 and 1 (N, C) or numbers (N, 1); empty if unknown."""
    names: tuple[str, ...] = ()
    """The file of each image, if there are files."""
    units: tuple[str, ...] = ()
    """The unit by which each image is held out, if there are files: its group, or its name in the class folder."""
    grouped: bool = False
    """Whether the units are groups."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""
        if isinstance(self.images, Files):
            return self.images.channels, self.images.size, self.images.size
        return tuple(self.images.shape[1:])  # type: ignore[return-value]

    @property
    def size_bytes(self) -> int:
        """Return the size of the images in memory; 0 for files."""
        return 0 if isinstance(self.images, Files) else self.images.nbytes

    def take(self, indices: Tensor) -> "Split":
        """Return the subset with these indices, in memory as a copy."""
        images = self.images.take(indices.tolist()) if isinstance(self.images, Files) else self.images[indices]
        return self.select(indices, images)

    def divide(self, first: Tensor) -> tuple["Split", "Split"]:
        """Return the images that are `first`, a boolean for each, and the others; use this split no more.

        In memory the images are put in order where they are: no second copy of them ever exists.
        """
        one, other = first.nonzero().flatten(), (~first).nonzero().flatten()
        if isinstance(self.images, Files):
            return self.take(one), self.take(other)
        reorder(self.images, torch.cat([one, other]).tolist())
        return self.select(one, self.images[: len(one)]), self.select(other, self.images[len(one) :])

    def select(self, indices: Tensor, images: Tensor | Files) -> "Split":
        """Return these images with the labels and names that are here at these indices."""
        labels = self.labels[indices] if len(self.labels) else self.labels
        names, units = (tuple(each[i] for i in indices.tolist()) if each else () for each in (self.names, self.units))
        return Split(images, labels, names, units, self.grouped)

    def digest(self) -> str:
        """Return a hash of the images' names, or of the pixels if they have none, and of the labels."""
        total = hashlib.blake2b(digest_size=16)
        if self.names:
            # By name below the class folder, so that the same data in another folder is the same.
            names = (f"{unit}\0{Path(name).name}" for unit, name in zip(self.units, self.names, strict=True))
            total.update("\0".join(names).encode(errors="surrogateescape"))
        elif isinstance(self.images, Tensor):
            total.update(self.images.cpu().contiguous().numpy().data)
        total.update(self.labels.cpu().numpy().data)
        return total.hexdigest()

    def to(self, device: torch.device) -> "Split":
        """Return the split with in-memory data moved to the device."""
        images = self.images if isinstance(self.images, Files) else self.images.to(device)
        return replace(self, images=images, labels=self.labels.to(device))

    def resize(self, size: int) -> "Split":
        """Return the split with square images of `size` pixels."""
        if isinstance(self.images, Files):
            return replace(self, images=replace(self.images, size=size))
        if self.images.shape[2:] == (size, size):
            return self
        resized = torch.empty(len(self), self.shape[0], size, size, dtype=torch.uint8)
        for block, place in zip(self.images.split(100), resized.split(100), strict=True):
            found = interpolate(block.float(), size=(size, size), mode="bilinear", antialias=True)
            place.copy_(found.round_().clamp_(0, 255))
        return replace(self, images=resized)


def reorder(images: Tensor, order: list[int]) -> None:
    """Put images in another order in place: number `order[i]` becomes number i."""
    pixels = images.numpy()
    for start, source in enumerate(order):
        if source in (start, MOVED):
            continue
        kept, at = pixels[start].copy(), start
        while (source := order[at]) != start:
            pixels[at], order[at] = pixels[source], MOVED
            at = source
        pixels[at], order[at] = kept, MOVED


@dataclass(frozen=True)
class Dataset:
    """Training and test split."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: bool = False
    """Whether the test was held out of one folder or CSV file, by seed."""
    levels: Levels | None = None
    """The values shown as black and white in images of more than 8 bits, if there are any."""
    square: Square = CROP
    """How images became squares, if there are files."""
    task: Task = SINGLE_LABEL

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what a network receives: training images may be held larger."""
        return self.test.shape

    def scale_train(self) -> Split:
        """Return the training images as a network receives them: a copy if they are held larger."""
        return self.train if self.train.shape == self.shape else self.train.resize(self.shape[-1])

    def check(self, trains: bool = True) -> "Dataset":
        """Return the data set; raises DataError if it cannot be tested with or, if it `trains`, learned from."""
        if len(self.classes) < self.task.least:
            raise DataError(f"{self.name}: only one class ({', '.join(self.classes)}); at least two are needed")
        if not len(self.test) or (trains and not len(self.train)):
            raise DataError(f"{self.name}: no images to {'test with' if not len(self.test) else 'train on'}")
        return self

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Return the data that must be unchanged for a run to resume: classes and training images."""
        return {
            "classes": list(self.classes),
            "images": len(self.train),
            "digest": self.train.digest(),
            "levels": self.levels,
            "square": [self.square.resize, self.square.interpolation],
            "task": self.task.name,
        }

    def resize(self, size: int) -> "Dataset":
        """Return it with square images of `size` pixels."""
        return replace(self, train=self.train.resize(size), test=self.test.resize(size))

    def shorten(self, images: int) -> "Dataset":
        """Return a data set with a random subset of at most `most` training images, by a fixed seed."""
        if len(self.train) <= images:
            return self
        drawn = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))[:images]
        return replace(self, train=self.train.take(drawn.sort().values))
