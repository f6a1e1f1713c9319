"""TrivialAugment (arXiv:2103.10158): one change of random strength for each image, on the device.

Every image of a batch is changed by another operation, yet nothing waits for the device: all colours are computed for all
images, and each takes its own.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .draws import Draws

MOVES = ("shear-x", "shear-y", "move-x", "move-y", "rotate")
COLOURS = ("brightness", "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = ("identity", *MOVES, *COLOURS)
"""Those of TrivialAugment's wide space, each as likely as the others."""
SHEAR, TURN, FACTOR, BITS = 0.99, 135.0, 0.99, 6
MOVE = 0.5
"""Of half the side: the paper moves images of 32 pixels by up to 32, which leaves nothing of them."""

LUMA = (0.2989, 0.587, 0.114)
"""How bright red, green and blue look."""


def chosen(draw: Draws) -> Tensor:
    """Return the number of each image's operation (N, 1)."""
    return (draw.numbers["which"] * len(OPERATIONS)).long()


def signed(draw: Draws) -> Tensor:
    """Return each image's strength from -1 to 1 (N, 1)."""
    return draw.numbers["strength"] * torch.where(draw.numbers["sign"] < 0.5, -1.0, 1.0)


def shear_and_move(draw: Draws) -> Tensor:
    """Return the matrix of each image's operation, the identity for one of colours: (N, 3, 3)."""
    which, strength = chosen(draw), signed(draw)

    def of(name: str, most: float) -> Tensor:
        return torch.where(which == OPERATIONS.index(name), strength * most, 0.0)

    angle = of("rotate", math.radians(TURN))
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    across = torch.cat([angle.cos(), of("shear-x", SHEAR) - angle.sin(), of("move-x", MOVE)], dim=1)
    down = torch.cat([of("shear-y", SHEAR) + angle.sin(), angle.cos(), of("move-y", MOVE)], dim=1)
    return torch.stack([across, down, torch.cat([zero, zero, one], dim=1)], dim=1)


def recolour(images: Tensor, draw: Draws) -> Tensor:
    """Return images of 0 to 255 (N, C, H, W) with each one's operation on colours, if it has one."""
    which, factor = chosen(draw)[..., None, None], 1 + (signed(draw) * FACTOR)[..., None, None]
    strength = draw.numbers["strength"][..., None, None]
    shares = torch.tensor(
        LUMA if images.shape[1] == 3 else [1 / images.shape[1]] * images.shape[1], device=images.device
    )
    grey = (images * shares.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
    changes = {
        "brightness": images * factor,
        "colour": torch.lerp(grey.expand_as(images), images, factor),
        "contrast": torch.lerp(grey.mean(dim=(2, 3), keepdim=True).expand_as(images), images, factor),
        "sharpness": torch.lerp(blur(images), images, factor),
        "posterize": posterize(images, strength),
        "solarize": torch.where(images > 255 * (1 - strength), 255 - images, images),
        "autocontrast": spread(images),
        "equalize": equalize(images),
    }
    for name, changed in changes.items():
        images = torch.where(which == OPERATIONS.index(name), changed, images)
    return images.clamp(0, 255)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Return images with fewer values: of 8 bits, the lowest up to 6 become 0."""
    step = (strength * BITS).round().exp2()
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
