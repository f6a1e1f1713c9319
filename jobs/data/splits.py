"""Split images into training and test by seed and name, so that no image ever changes sides."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import DataError


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


def folds(
    labels: Tensor, count: int, seed: int, units: Sequence[str] = (), grouped: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """Return `count` pairs of sorted indices for training and test; each image is tested once.

    Every fold has the same share of each class. A group is never divided, and shares are as equal as groups allow.
    Hashes of the seed and the units decide what is tested together. Raises DataError if there are fewer images or groups
    than folds.
    """
    units = units or [str(at) for at in range(len(labels))]
    draws = {unit: draw(seed, unit) for unit in set(units)}
    if (found := len(draws) if grouped else len(labels)) < count:
        raise DataError(f"{count} folds need as many {'groups' if grouped else 'images'}; there are {found}")
    strata = labels.cpu() if labels.dim() == 1 and not labels.is_floating_point() else labels.new_zeros(len(labels))
    fold = (fold_groups if grouped else fold_images)(strata, count, units, draws)
    return [((fold != each).nonzero().flatten(), (fold == each).nonzero().flatten()) for each in range(count)]


def fold_images(labels: Tensor, count: int, units: Sequence[str], draws: Mapping[str, float]) -> Tensor:
    """Return the fold of each image: those of a class are dealt out in the order of their draws."""
    chance = torch.tensor([draws[unit] for unit in units], dtype=torch.float64)
    fold = torch.empty(len(labels), dtype=torch.int64)
    start = 0
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        fold[members[chance[members].argsort(stable=True)]] = (torch.arange(len(members)) + start) % count
        start += len(members)
    return fold


def fold_groups(labels: Tensor, count: int, units: Sequence[str], draws: Mapping[str, float]) -> Tensor:
    """Return the fold of each image: each group, the largest first, goes where its classes are rarest."""
    numbers = {unit: at for at, unit in enumerate(sorted(draws, key=lambda unit: draws[unit]))}
    group, label = torch.tensor([numbers[unit] for unit in units]), labels.unique(return_inverse=True)[1]
    images = torch.zeros(len(numbers), int(label.max()) + 2, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    images.index_put_((group, label), one, accumulate=True)
    images[:, -1] = images.sum(dim=1)  # all classes together count like one more
    shares = images / images.sum(dim=0)
    held = torch.zeros(count, images.shape[1], dtype=torch.float64)
    place = torch.empty(len(numbers), dtype=torch.int64)
    for each in images[:, -1].argsort(descending=True, stable=True).tolist():
        place[each] = (held @ shares[each]).argmin()  # where it adds least to the squares of the folds' shares
        held[place[each]] += shares[each]
    return place[group]
