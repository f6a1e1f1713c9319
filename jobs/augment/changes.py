"""Data augmentation, in batches on the device: functions of the images and of random numbers."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..config.recipe import Recipe
from .draws import Draws
from .geometry import warp
from .operations import choose, recolour


def change(images: Tensor, recipe: Recipe, draw: Draws, size: int = 0) -> Tensor:
    """Shift, flip, move, recolour and erase images (N, C, H, W) as the recipe says; uint8 or float.

    They become squares of `size` pixels, if it is given: training images may be held larger.
    """
    if recipe.flip or recipe.crop:
        images = shift(images, recipe.crop, recipe.flip, draw)
    moves = recipe.zoom or recipe.resized_crop or recipe.rotate or recipe.warp
    if moves or recipe.trivial_augment or recipe.rand_augment or (size and size != images.shape[-1]):
        images = warp(images, recipe, draw, size if size != images.shape[-1] else 0)
    if recipe.lighting:
        images = light(images, recipe.lighting, draw)
    for choice in choose(recipe, draw):
        images = recolour(images, choice)
    if recipe.erase:
        images = erase(images, recipe.erase, draw)
    return images


def shift(images: Tensor, pixels: int, flip: bool, draw: Draws) -> Tensor:
    """Shift images by up to `pixels` each way, reflecting the border, and flip half of them."""
    height, width = images.shape[2:]
    device = images.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device).expand(len(images), -1)
    if pixels:
        offsets = (draw.numbers["shift"] * (2 * pixels + 1)).long() - pixels
        rows, columns = reflect(rows + offsets[:, :1], height), reflect(columns + offsets[:, 1:], width)
    if flip:
        columns = torch.where(draw.numbers["mirror"] < 0.5, columns.flip(1), columns)
    rows = rows.expand(len(images), -1)
    each = torch.arange(len(images), device=device)
    # Indexing puts the channels last, the layout that convolutions prefer.
    return images[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def reflect(index: Tensor, length: int) -> Tensor:
    """Reflect indices outside of 0 to `length` at the border."""
    index = index.abs()
    return ((length - 1) - (length - 1 - index).abs()).clamp(0)


def light(images: Tensor, most: float, draw: Draws) -> Tensor:
    """Change brightness and contrast by up to this fraction either way; return floats."""
    brightness, contrast = ((draw.numbers["light"] * 2 - 1) * most).split(1, dim=1)
    images = images.float()
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = torch.lerp(mean.expand_as(images), images, (1 + contrast)[..., None, None])
    changed = changed * (1 + brightness)[..., None, None]
    return changed.clamp(0, 255)


def erase(images: Tensor, share: float, draw: Draws) -> Tensor:
    """Grey out a rectangle of up to `share` of each image's area."""
    height, width = images.shape[2:]
    length, shape = (share * draw.numbers["area"]).sqrt(), (draw.numbers["shape"] - 0.5).exp2()
    box = torch.cat([length * shape, length / shape], dim=1).clamp(max=1)
    start = draw.numbers["corner"] * (1 - box)
    rows, columns = (torch.arange(side, device=images.device) / side for side in (height, width))
    inside_rows = (rows >= start[:, :1]) & (rows < start[:, :1] + box[:, :1])
    inside_columns = (columns >= start[:, 1:]) & (columns < start[:, 1:] + box[:, 1:])
    return images.masked_fill(inside_rows[:, None, :, None] & inside_columns[:, None, None, :], 128)


def mix(images: Tensor, targets: Tensor, recipe: Recipe, draw: Draws) -> tuple[Tensor, Tensor]:
    """Mix images by mixup or CutMix, and in the same parts their targets (N, C)."""
    alpha = recipe.cutmix or recipe.mixup
    share = draw.step.betavariate(alpha, alpha)
    height, width = images.shape[2:]
    if recipe.cutmix:
        side = (1 - share) ** 0.5
        top, left = (int(draw.step.random() * (1 - side) * n) for n in (height, width))
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
