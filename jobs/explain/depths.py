"""The section of a report that goes from edges to parts: one row for each depth of the network."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..data import Split
from ..look.inside import picture
from ..look.layers import find_depths, write_shape
from ..look.mistakes import read
from ..look.report import Gallery, Row, Tile
from ..models import Classifier
from .channels import MOST_PATCHES, Channel, cut, find_channels
from .maximization import choose_shape, maximize

DEPTHS, CHANNELS = 6, 6
MOST_IMAGES = 200
"""Searched for patches: more take longer and change little."""
SIDE, GAP = 96, 4
"""Of each of the four parts of a channel's picture, in pixels."""
WHITE = 255


def show_depths(model: Classifier, split: Split) -> Gallery | None:
    """Return a row for each depth: its most selective channels; None for a network without convolutions."""
    depths = find_depths(model, split.shape, DEPTHS)
    if not depths:
        return None
    spread = torch.linspace(0, len(split) - 1, min(len(split), MOST_IMAGES)).round().long().tolist()
    images = torch.stack([read(split, at) for at in spread])
    rows, shape = [], choose_shape(model, split.shape)
    for layer, channels in zip(depths, find_channels(model, images, depths, CHANNELS), strict=True):
        made = maximize(model, layer, channels, shape) if channels else torch.empty(0)
        tiles = [
            Tile(picture(compose([cut(images[place[0]], place, layer) for place in channel.places], best)), (name,))
            for channel, best in zip(channels, made, strict=True)
            for name in (describe(channel),)
        ]
        sees = min(layer.field, max(split.shape[1:]))
        label = f"{layer.name}: {write_shape(layer.shape)}, each position sees {sees} x {sees} pixels"
        rows.append(Row(label if tiles else f"{label}; no channel responds differently to the images", tuple(tiles)))
    caption = (
        f"One row for each depth, from the first filters to the last block. Each picture is one channel: the {MOST_PATCHES} "
        "patches of different images that excite it most and, at the bottom right, an image made from noise to excite it. "
        f"Chosen among {len(images):,} images: the channels whose strongest responses differ most from the others."
    )
    return Gallery("Edges to parts", caption, rows)


def describe(channel: Channel) -> str:
    """Return a channel's caption."""
    return f"channel {channel.index}"


def compose(patches: list[Tensor], made: Tensor) -> Tensor:
    """Return one square picture (C, H, W): the patches in reading order, and the made image last."""
    colours = made.shape[0]
    board = torch.full((colours, 2 * SIDE + GAP, 2 * SIDE + GAP), WHITE, dtype=torch.uint8)
    for at, part in enumerate([*patches[:MOST_PATCHES], *[None] * (MOST_PATCHES - len(patches)), made]):
        if part is not None:
            top, left = (at // 2) * (SIDE + GAP), (at % 2) * (SIDE + GAP)
            scaled = interpolate(part[None].float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]
            board[:, top : top + SIDE, left : left + SIDE] = scaled.round().clamp(0, WHITE).to(torch.uint8)
    return board
