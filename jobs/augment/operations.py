"""TrivialAugment (arXiv:2103.10158) and RandAugment (arXiv:1909.13719), on the device.

Every image of a batch is changed by another operation, yet nothing waits for the device: all colours are computed for all
images, and each takes its own.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ..config.recipe import Recipe
from .draws import Draws

MOVES = ("shear-x", "shear-y", "move-x", "move-y", "rotate")
COLOURS = ("brightness", "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = ("identity", *MOVES, *COLOURS)
"""Those of both papers, each as likely as the others."""
STRONGEST = 30
"""The strength of RandAugment's scale at which operations do the most."""

LUMA = (0.2989, 0.587, 0.114)
"""How bright red, green and blue look."""


@dataclass(frozen=True)
class Space:
    """How much each operation does at its strongest."""

    shear: float
    turn: float
    """In degrees."""
    move: float
    """Of half the side."""
    factor: float
    """Of brightness, colour, contrast and sharpness."""
    bits: int


WIDE = Space(shear=0.99, turn=135.0, move=0.5, factor=0.99, bits=6)
"""TrivialAugment's; but the paper moves images of 32 pixels by up to 32, which leaves nothing of them."""
NARROW = Space(shear=0.3, turn=30.0, move=300 / 331, factor=0.9, bits=4)
"""RandAugment's, as in torchvision."""


@dataclass(frozen=True)
class Choice:
    """One operation for each image."""

    which: Tensor
    """Its number (N, 1)."""
    strength: Tensor
    """From 0 to 1 (N, 1)."""
    sign: Tensor
    """-1 or 1 (N, 1)."""
    space: Space


def choose(recipe: Recipe, draw: Draws) -> list[Choice]:
    """Return each image's operations, in turn: none, one of random strength, or two of a given one."""
    numbers = draw.numbers
    found = []
    if recipe.trivial_augment:
        found.append(pick(numbers["which"], numbers["strength"], numbers["sign"], WIDE))
    if recipe.rand_augment:
        for number in (numbers["first"], numbers["second"]):
            strength = torch.full_like(number[:, :1], recipe.rand_augment / STRONGEST)
            found.append(pick(number[:, :1], strength, number[:, 1:], NARROW))
    return found


def pick(which: Tensor, strength: Tensor, sign: Tensor, space: Space) -> Choice:
    """Return the operations that random numbers (N, 1) stand for."""
    return Choice((which * len(OPERATIONS)).long(), strength, torch.where(sign < 0.5, -1.0, 1.0), space)


def shear_and_move(choice: Choice) -> Tensor:
    """Return the matrix of each image's operation, the identity for one of colours: (N, 3, 3)."""
    space, strength = choice.space, choice.strength * choice.sign

    def of(name: str, most: float) -> Tensor:
        return torch.where(choice.which == OPERATIONS.index(name), strength * most, 0.0)

    angle = of("rotate", math.radians(space.turn))
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    across = torch.cat([angle.cos(), of("shear-x", space.shear) - angle.sin(), of("move-x", space.move)], dim=1)
    down = torch.cat([of("shear-y", space.shear) + angle.sin(), angle.cos(), of("move-y", space.move)], dim=1)
    return torch.stack([across, down, torch.cat([zero, zero, one], dim=1)], dim=1)


def recolour(images: Tensor, choice: Choice) -> Tensor:
    """Return images of 0 to 255 (N, C, H, W) with each one's operation on colours, if it has one."""
    which, strength = choice.which[..., None, None], choice.strength[..., None, None]
    factor = 1 + strength * choice.sign[..., None, None] * choice.space.factor
    shares = torch.tensor(
        LUMA if images.shape[1] == 3 else [1 / images.shape[1]] * images.shape[1], device=images.device
    )
    grey = (images * shares.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
    changes = {
        "brightness": images * factor,
        "colour": torch.lerp(grey.expand_as(images), images, factor),
        "contrast": torch.lerp(grey.mean(dim=(2, 3), keepdim=True).expand_as(images), images, factor),
        "sharpness": torch.lerp(blur(images), images, factor),
        "posterize": posterize(images, strength * choice.space.bits),
        "solarize": torch.where(images > 255 * (1 - strength), 255 - images, images),
        "autocontrast": spread(images),
        "equalize": equalize(images),
    }
    for name, changed in changes.items():
        images = torch.where(which == OPERATIONS.index(name), changed, images)
    return images.clamp(0, 255)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Return images with fewer values: of 8 bits, so many of the lowest become 0."""
    step = bits.round().exp2()
    return (images / step).floor() * step


def blur(images: Tensor) -> Tensor:
    """Return images smoothed over 3 x 3 pixels, the centre weighted as in Pillow."""
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    channels = images.shape[1]
    return conv2d(pad(images, (1, 1, 1, 1), mode="replicate"), kernel.expand(channels, 1, 3, 3), groups=channels)


def spread(images: Tensor) -> Tensor:
    """Return images that reach from 0 to 255 in each channel; flat ones as they are."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) * 255 / (high - low).clamp(min=1e-6), images)


def equalize(images: Tensor) -> Tensor:
    """Return images whose values are about equally frequent in each channel."""
    values = images.round().clamp(0, 255).long().flatten(2)
    counts = torch.zeros(*values.shape[:2], 256, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values, dtype=counts.dtype))
    below = counts.cumsum(dim=2) - counts
    others = values.shape[2] - counts.gather(2, values.amax(dim=2, keepdim=True))  # than those of the brightest value
    step = (others / 255).floor()  # whole numbers, as in Pillow: in small images they matter
    table = ((below + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(max=255)
    return torch.where(step > 0, table.gather(2, values), images.flatten(2)).view_as(images)
