"""Move images: zoom, rotation and perspective as one matrix and one interpolation."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from ..config.recipe import Recipe
from .draws import Draws
from .operations import choose, shear_and_move

RATIO = 4 / 3
"""The most that a random resized crop stretches an image, either way."""


def warp(images: Tensor, recipe: Recipe, draw: Draws, size: int = 0) -> Tensor:
    """Zoom into, turn and tilt images (N, C, H, W); return floats, squares of `size` pixels if given.

    Everything is one matrix for each image, so it is interpolated once: from `--presize` no sharpness is lost.
    """
    height, width = (size, size) if size else images.shape[2:]
    matrix = find_matrix(recipe, draw)
    images = images.float()
    if matrix is None:
        return interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    rows, columns = ((torch.arange(side, device=images.device) * 2 + 1) / side - 1 for side in (height, width))
    points = torch.stack(
        [columns.expand(height, -1), rows[:, None].expand(-1, width), torch.ones(height, width, device=images.device)],
        dim=-1,
    )
    seen = (points.view(1, -1, 3) @ matrix.transpose(1, 2)).view(len(images), height, width, 3)
    grid = seen[..., :2] / seen[..., 2:]
    return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def find_matrix(recipe: Recipe, draw: Draws) -> Tensor | None:
    """Return each image's matrix from places in the result to those in the original (N, 3, 3), or None."""
    parts = []
    if recipe.zoom or recipe.resized_crop:
        parts.append(crop(recipe, draw))
    if recipe.rotate:
        angle = (draw.numbers["turn"] * 2 - 1) * math.radians(recipe.rotate)
        parts.append(matrices(angle.cos(), -angle.sin(), angle.sin(), angle.cos()))
    if recipe.warp:
        tilt = (draw.numbers["tilt"] * 2 - 1) * recipe.warp
        flat = torch.eye(3, device=tilt.device).repeat(len(tilt), 1, 1)
        parts.append(torch.cat([flat[:, :2], torch.cat([tilt, flat[:, 2, 2:]], dim=1)[:, None]], dim=1))
    parts += [shear_and_move(choice) for choice in choose(recipe, draw)]
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole @ part
    return whole


def crop(recipe: Recipe, draw: Draws) -> Tensor:
    """Return the matrices of random crops: squares of --zoom, or of any shape for --resized-crop."""
    sides = (1 - recipe.zoom * draw.numbers["side"]).expand(-1, 2)
    if recipe.resized_crop:
        area = recipe.resized_crop + (1 - recipe.resized_crop) * draw.numbers["share"][:, :1]
        ratio = ((draw.numbers["share"][:, 1:] * 2 - 1) * math.log(RATIO)).exp()
        sides = sides * torch.cat([area * ratio, area / ratio], dim=1).sqrt().clamp(max=1)
    places = (draw.numbers["place"] * 2 - 1) * (1 - sides)
    zero = torch.zeros_like(sides[:, :1])
    found = matrices(sides[:, :1], zero, zero, sides[:, 1:])
    return torch.cat([torch.cat([found[:, :2, :2], places[..., None]], dim=2), found[:, 2:]], dim=1)


def matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return ((a, b, 0), (c, d, 0), (0, 0, 1)) for each image, whose numbers are (N, 1)."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return torch.cat([a, b, zero, c, d, zero, zero, zero, one], dim=1).view(-1, 3, 3)
