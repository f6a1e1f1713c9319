"""Find images that are in both training and test: identical, or the same picture re-encoded."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .dataset import Split
from .memory import limit_batch

SIDE = 32
"""The side of the compared thumbnails, in pixels; smaller images have too little detail to compare."""
BANDS, BITS = 4, 16
"""A hash has 64 bits; images whose hashes differ in up to three share at least one of its four bands."""
CLOSE = 6.0
"""Mean difference of two thumbnails, of 255: JPEG at quality 50 stays below, two photographs of one scene are above."""
MOST_ALIKE = 200
"""The most images in one band: thousands of blank or drawn pictures share one without being alike."""


def find_duplicates(train: Split, test: Split) -> list[tuple[int, int]]:
    """Return the indices of training images that are also in the test, with those; in memory only."""
    if not isinstance(train.images, Tensor) or not isinstance(test.images, Tensor) or min(train.shape[1:]) < SIDE:
        return []
    known, asked = shrink(test.images), shrink(train.images)
    bands: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at, words in enumerate(hash_bands(known)):
        for place in enumerate(words):
            bands[place].append(at)
    found = []
    for at, words in enumerate(hash_bands(asked)):
        near = sorted(
            {other for place in enumerate(words) if len(bands[place]) <= MOST_ALIKE for other in bands[place]}
        )
        if not near:
            continue
        apart = (known[near].float() - asked[at].float()).abs().mean(dim=(1, 2, 3))
        if float(apart.min()) < CLOSE:
            found.append((at, near[int(apart.argmin())]))
    return found


def shrink(images: Tensor) -> Tensor:
    """Return thumbnails, uint8 (N, C, SIDE, SIDE)."""
    return torch.cat(
        [
            interpolate(block.float(), size=(SIDE, SIDE), mode="area").round().to(torch.uint8)
            for block in images.split(limit_batch(1000, images.shape[1:]))  # floats take four times the space
        ]
    )


def hash_bands(thumbnails: Tensor) -> Iterator[list[int]]:
    """Yield four bands of each image's difference hash: for 8 x 8 pixels, if darker than the next.

    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html
    """
    weights = 2 ** torch.arange(BITS)
    for block in thumbnails.split(1000):
        grey = interpolate(block.float().mean(dim=1, keepdim=True), size=(8, 9), mode="area")
        bits = (grey[..., 1:] > grey[..., :-1]).flatten(1).view(-1, BANDS, BITS)
        yield from (bits * weights).sum(dim=2).tolist()
