"""Activation maximization: images made from noise to excite one channel each.

The image is made of waves whose strength is learned, as in https://distill.pub/2017/feature-visualization: without that,
or without moving it a little in every step, the result is noise that excites the channel and shows nothing. What climbs is the
channel before its ReLU, which has a gradient also where the ReLU is still 0.
"""

from contextlib import suppress

import torch
from torch import Tensor

from ..look.layers import Layer, trace
from ..models import Classifier
from .channels import Channel

STEPS, RATE, SPREAD = 64, 0.05, 0.3
MOST_SIDE = 96
"""Of the images that are made: each step costs as much as training on them."""
SHIFT = 0.08
"""How far the image is moved at random, as a fraction of its side."""


class Reached(Exception):  # noqa: N818  not an error: the rest of the network is not needed
    """The layer has answered."""


def choose_shape(model: Classifier, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of the images to make: small, if the network takes small images."""
    smaller = (shape[0], min(shape[1], MOST_SIDE), min(shape[2], MOST_SIDE))
    try:
        trace(model, smaller)
    except (RuntimeError, ValueError, AssertionError):  # whatever a network's layers make of another size
        return shape
    return smaller


def maximize(model: Classifier, layer: Layer, channels: list[Channel], shape: tuple[int, int, int]) -> Tensor:
    """Return an image for each channel of a layer, uint8 (channels, C, H, W)."""
    draw = torch.Generator().manual_seed(0)
    count, (colours, height, width) = len(channels), shape
    spectrum = torch.randn(count, colours, height, width // 2 + 1, 2, generator=draw) * SPREAD
    spectrum.requires_grad_()
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    scale = (1 / (down**2 + across**2).sqrt().clamp(min=1 / max(height, width)))[..., None]
    optimizer = torch.optim.Adam([spectrum], RATE)
    wanted = torch.tensor([channel.index for channel in channels])
    kept: list[Tensor] = []

    def stop(_: object, __: object, output: Tensor) -> None:
        kept.append(output)
        raise Reached

    hook = (layer.linear or layer.module).register_forward_hook(stop)
    most = max(1, round(SHIFT * height))
    try:
        for _ in range(STEPS):
            moves = torch.randint(-most, most + 1, (2,), generator=draw).tolist()
            moved = paint(spectrum, scale, (height, width)).roll(moves, dims=(2, 3))
            kept.clear()
            with suppress(Reached):
                model(moved * 255)
            answer = kept[0][torch.arange(count), wanted].mean(dim=(1, 2))
            (spectrum.grad,) = torch.autograd.grad(-answer.sum(), spectrum)
            optimizer.step()
    finally:
        hook.remove()
    with torch.no_grad():
        return (paint(spectrum, scale, (height, width)) * 255).round().to(torch.uint8)


def paint(spectrum: Tensor, scale: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images of 0 to 1 made of waves, the long ones stronger, as in photographs."""
    waves = torch.fft.irfft2(torch.view_as_complex((spectrum * scale).contiguous()), s=size, norm="ortho")
    return torch.sigmoid(waves / 4)
