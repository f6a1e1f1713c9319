"""Data augmentation, in batches on the device.

Random numbers depend only on seed and step, and are drawn for the whole batch: a resumed run is identical to an
uninterrupted one, and each of several processes uses its rows of the same numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, one_hot

from ..config.recipe import Recipe


@dataclass(frozen=True)
class Draws:
    """Random numbers for the rows of one process, from one step's generator."""

    generator: torch.Generator
    batch: int
    rows: slice

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1) for each row."""
        return torch.rand(self.batch, *shape, generator=self.generator)[self.rows]

    def beta(self, alpha: float) -> float:
        """Return one number for the whole batch, beta-distributed with both parameters `alpha`."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return float(torch.distributions.Beta(alpha, alpha).sample())


def draws(seed: int, step: int, batch: int, rank: int = 0, world: int = 1) -> Draws:
    """Return the random numbers of a step for the process `rank` of `world`."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    share = batch // world
    return Draws(generator, batch, slice(rank * share, (rank + 1) * share))


def change(images: Tensor, recipe: Recipe, draw: Draws) -> Tensor:
    """Shift, flip, zoom and erase images (N, C, H, W) as the recipe says; uint8 or float."""
    if recipe.flip or recipe.crop:
        images = shift(images, recipe.crop, recipe.flip, draw)
    if recipe.zoom:
        images = zoom(images, recipe.zoom, draw)
    if recipe.erase:
        images = erase(images, recipe.erase, draw)
    return images


def shift(images: Tensor, pixels: int, flip: bool, draw: Draws) -> Tensor:
    """Shift images by up to `pixels` each way, reflecting the border, and flip half of them."""
    height, width = images.shape[2:]
    offsets = (draw.uniform(2) * (2 * pixels + 1)).long() - pixels
    mirrored = draw.uniform(1) < 0.5
    rows = reflect(torch.arange(height) + offsets[:, :1], height)
    columns = reflect(torch.arange(width) + offsets[:, 1:], width)
    if flip:
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    each = torch.arange(len(images), device=images.device)
    # Indexing puts the channels last, the layout that convolutions prefer.
    return images[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def reflect(index: Tensor, length: int) -> Tensor:
    """Reflect indices outside of 0 to `length` at the border."""
    index = index.abs()
    return ((length - 1) - (length - 1 - index).abs()).clamp(0)


def zoom(images: Tensor, share: float, draw: Draws) -> Tensor:
    """Crop a random square with a side of at least 1 - `share` of the whole; return resized floats."""
    sides = 1 - share * draw.uniform()
    places = (draw.uniform(2) * 2 - 1) * (1 - sides)[:, None]
    zero = torch.zeros_like(sides)
    theta = torch.stack([torch.stack([sides, zero, places[:, 0]], 1), torch.stack([zero, sides, places[:, 1]], 1)], 1)
    grid = affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def erase(images: Tensor, share: float, draw: Draws) -> Tensor:
    """Grey out a rectangle of up to `share` of each image's area."""
    height, width = images.shape[2:]
    area, shape, places = share * draw.uniform(), (draw.uniform() - 0.5).exp2(), draw.uniform(2)
    box = torch.stack([(area.sqrt() * shape).clamp(max=1), (area.sqrt() / shape).clamp(max=1)], 1)
    start = places * (1 - box)
    rows, columns = torch.arange(height) / height, torch.arange(width) / width
    inside_rows = (rows >= start[:, :1]) & (rows < start[:, :1] + box[:, :1])
    inside_columns = (columns >= start[:, 1:]) & (columns < start[:, 1:] + box[:, 1:])
    mask = (inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).to(images.device)
    return torch.where(mask, torch.full((), 128, dtype=images.dtype, device=images.device), images)


def mix(images: Tensor, labels: Tensor, classes: int, recipe: Recipe, draw: Draws) -> tuple[Tensor, Tensor]:
    """Mix images by mixup or CutMix; return them with the share of each class (N, classes)."""
    targets = one_hot(labels, classes).float()
    share = draw.beta(recipe.cutmix or recipe.mixup)
    height, width = images.shape[2:]
    if recipe.cutmix:
        side = (1 - share) ** 0.5
        top, left = (int(torch.rand((), generator=draw.generator) * (1 - side) * n) for n in (height, width))
        bottom, right = top + round(side * height), left + round(side * width)
        images = images.clone()
        images[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        images = images.float()
        images = torch.lerp(images.flip(0), images, share)
    return images, torch.lerp(targets.flip(0), targets, share)


def shrink(images: Tensor, progress: float, start: float) -> Tensor:
    """Resize images: from the fraction `start` to full size over the first two thirds of training."""
    whole = images.shape[-1]
    side = min(whole, max(8, round(whole * (start + (1 - start) * progress * 1.5) / 4) * 4))
    if side >= whole:
        return images
    return interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
