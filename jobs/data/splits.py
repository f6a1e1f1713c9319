"""Split images into training and test by seed: stratified by class, groups kept together."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ..errors import DataError

SEED = 20241


def split(labels: Tensor, share: float, seed: int, groups: Sequence[Hashable] = ()) -> tuple[Tensor, Tensor]:
    """Return sorted indices for training and test; about `share` of each class is held out.

    A class with a single image is used for training. With `groups` (such as the patient, one per image) whole groups are
    held out, so that test images have no near-duplicates in training. Raises DataError if that is impossible.
    """
    draw = torch.Generator().manual_seed(SEED + seed)
    held = hold_groups(labels, share, draw, groups) if groups else hold_images(labels, share, draw)
    if not held.any() or held.all():
        what = f"{len(set(groups)):,} groups" if groups else f"{len(labels):,} images"
        raise DataError(f"{what} are too few for a test split of {share:.0%}")
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def hold_images(labels: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """Return the images held out, class by class."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=draw)]
        count = min(len(members) - 1, max(1, round(share * len(members))))
        held[members[:count]] = True
    return held


def hold_groups(labels: Tensor, share: float, draw: torch.Generator, groups: Sequence[Hashable]) -> Tensor:
    """Return the images held out, group by group: each goes where its classes are most needed."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = list(members)
    classes = int(labels.max()) + 1
    wanted = torch.bincount(labels, minlength=classes) * share
    held = torch.zeros(len(labels), dtype=torch.bool)
    have = torch.zeros(classes)
    for at in torch.randperm(len(order), generator=draw).tolist():
        chosen = torch.tensor(members[order[at]])
        counts = torch.bincount(labels[chosen], minlength=classes)
        if ((have + counts - wanted).abs().sum() < (have - wanted).abs().sum()) and len(order) > 1:
            held[chosen] = True
            have += counts
    return held


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
