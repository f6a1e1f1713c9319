"""Split images into training and test by seed and name, so that no image ever changes sides."""

import hashlib
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DataError

SEED = 20241


def split(
    labels: Tensor, share: float, seed: int, units: Sequence[str] = (), grouped: bool = False
) -> tuple[Tensor, Tensor]:
    """Return sorted indices for training and test; about `share` of the images is held out.

    Each image is held out by a hash of the seed and its unit alone, which is its name or, if `grouped`, its group, such
    as a patient. So a group stays together, and an image that was trained on stays in training when others are added.
    Each class keeps an image in training; without groups, each class of two images or more has one in the test.
    Raises DataError if that is impossible.
    """
    units = units or [str(at) for at in range(len(labels))]
    draws = {unit: draw(seed, unit) for unit in set(units)}
    chance = torch.tensor([draws[unit] for unit in units], dtype=torch.float64)
    held = chance < share
    if grouped and not held.any():
        held = chance == chance.min()
    for label in labels.unique():
        members = labels == label
        least, most = chance[members].min(), chance[members].max()
        within = members | torch.tensor(grouped)
        if held[members].all():
            held &= ~(within & (chance == most))
        elif not (grouped or held[members].any()) and least < most:
            held |= members & (chance == least)
    if not held.any() or held.all():
        raise DataError(f"{len(labels):,} images are too few for a test split of {share:.0%}, or are all of one group")
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def draw(seed: int, unit: str) -> float:
    """Return a number from 0 to 1 that depends on seed and unit alone."""
    # The same letters may be composed differently on macOS: https://unicode.org/reports/tr15
    text = f"{seed} {unicodedata.normalize('NFC', unit)}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") / 2**48


def folds(labels: Tensor, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return `count` pairs of training and test indices; each image is tested once."""
    draw = torch.Generator().manual_seed(SEED + seed)
    fold = torch.empty(len(labels), dtype=torch.int64)
    start = 0
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        fold[members[torch.randperm(len(members), generator=draw)]] = (torch.arange(len(members)) + start) % count
        start += len(members)
    return [((fold != each).nonzero().flatten(), (fold == each).nonzero().flatten()) for each in range(count)]
