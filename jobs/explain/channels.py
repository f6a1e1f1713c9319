"""What each depth of a network responds to: the patches of the data that excite its channels most."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.memory import limit_batch
from ..look.layers import Layer
from ..models import Classifier

MOST_PATCHES = 3
LEAST_SIDE, MOST_SIDE = 0.12, 0.5
"""Of a patch, as fractions of the image: a position deep in the network depends on all of it."""


@dataclass(frozen=True)
class Channel:
    """One channel, and where it responds most: image, row and column of its map, strongest first."""

    index: int
    places: tuple[tuple[int, int, int], ...]
    strength: float
    """The mean of these responses, in standard deviations above the mean of its responses to all images."""


def watch(model: Classifier, images: Tensor, layers: list[Layer]) -> list[Tensor]:
    """Return the outputs of layers for images (N, C, H, W), before a later layer works in place."""
    kept: dict[int, Tensor] = {}
    hooks = [
        layer.module.register_forward_hook(lambda *given, at=at: kept.update({at: given[2].clone()}))
        for at, layer in enumerate(layers)
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [kept[at] for at in range(len(layers))]


@torch.no_grad()
def find_channels(model: Classifier, images: Tensor, layers: list[Layer], most: int) -> list[list[Channel]]:
    """Return for each layer the channels that respond most selectively, and where."""
    tops: list[list[Tensor]] = [[] for _ in layers]
    spots: list[list[Tensor]] = [[] for _ in layers]
    for part in images.split(limit_batch(32, images.shape[1:])):
        for at, maps in enumerate(watch(model, part, layers)):
            top, spot = maps.float().flatten(2).max(dim=2)
            tops[at].append(top.cpu())
            spots[at].append(spot.cpu())
    return [
        rank(torch.cat(top), torch.cat(spot), layer.shape[2], most)
        for top, spot, layer in zip(tops, spots, layers, strict=True)
    ]


def rank(tops: Tensor, spots: Tensor, width: int, most: int) -> list[Channel]:
    """Return the channels whose strongest responses (images, channels) differ most from the others."""
    count = min(MOST_PATCHES, len(tops))
    best, images = tops.topk(count, dim=0)
    spread = tops.std(dim=0, unbiased=False)
    strength = (best.mean(dim=0) - tops.mean(dim=0)) / spread.clamp(min=1e-6)
    strength[spread <= 1e-6] = -1.0  # a channel that answers all images alike says nothing
    chosen = strength.topk(min(most, tops.shape[1])).indices.tolist()
    found = []
    for channel in chosen:
        places = [(int(image), *divmod(int(spots[image, channel]), width)) for image in images[:, channel].tolist()]
        found.append(Channel(channel, tuple(places), float(strength[channel])))
    return [each for each in found if each.strength > 0]


def cut(image: Tensor, place: tuple[int, int, int], layer: Layer) -> Tensor:
    """Return the patch of an image (C, H, W) that a position of a layer's map sees."""
    height, width = image.shape[1:]
    side = round(max(LEAST_SIDE * height, min(MOST_SIDE * height, layer.field)))
    rows, columns = layer.shape[1:]
    top = round((place[1] + 0.5) / rows * height - side / 2)
    left = round((place[2] + 0.5) / columns * width - side / 2)
    top, left = max(0, min(top, height - side)), max(0, min(left, width - side))
    return image[:, top : top + side, left : left + side]
