"""Inside the network: learned filters, feature maps, and the regions that a decision depends on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..data.memory import limit_batch
from ..models import Classifier
from ..models.classifier import find_maps
from .plots import colour, overlay
from .report import Row, Scale, Tile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_FILTERS, MOST_LAYERS, MAPS = 64, 6, 8
SPOTS = 8
"""Occlusion covers this many positions along each side of an image."""
FAINT = 0.01
"""The least change of a probability that the colours of occlusion reach to."""
COVERED = 0.25
"""Side of the occluding patch, as a fraction of the image's."""


def picture(image: Tensor) -> "NDArray[np.uint8]":
    """Return an image (C, H, W) as pixels: (H, W) if grey, otherwise (H, W, 3)."""
    shown: NDArray[np.uint8] = image.cpu().permute(1, 2, 0).numpy()
    return shown[..., 0] if shown.shape[2] == 1 else shown


def stretch(values: Tensor) -> Tensor:
    """Scale values to uint8, from their lowest to their highest."""
    return ((values - values.min()) / (values.max() - values.min()).clamp(min=1e-9) * 255).to(torch.uint8)


def show_filters(model: Classifier) -> Row:
    """Return the filters of the first convolution, in grey unless it sees three colours."""
    weights = find_maps(model)[0].weight.detach().float().cpu()[:MOST_FILTERS]
    shown = [one if len(one) == 3 else one.mean(dim=0, keepdim=True) for one in weights]
    return Row("", tuple(Tile(picture(stretch(one))) for one in shown))


@torch.no_grad()
def show_maps(model: Classifier, image: Tensor) -> list[Row]:
    """Return the strongest channels of some convolutions, from first to last, for an image (C, H, W)."""
    names = {module: name for name, module in model.named_modules()}
    layers = find_maps(model)
    chosen = [layers[at] for at in torch.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers))).long().tolist()]
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *given: seen.append(given[2][0].float().cpu())) for layer in chosen]
    try:
        model(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    rows = [Row("Input image", (Tile(picture(image)),))]
    for layer, maps in zip(chosen, seen, strict=True):
        strongest = maps.amax(dim=(1, 2)).topk(min(MAPS, len(maps))).indices.tolist()
        tiles = tuple(Tile(colour(stretch(maps[at].relu()).numpy(), "viridis", 0, 255)) for at in strongest)
        height, width = maps.shape[1:]
        rows.append(Row(f"{names[layer].removeprefix('net.')}: {len(maps)} channels, {height} x {width}", tiles))
    return rows


def grad_cam(model: Classifier, images: Tensor, classes: Tensor, layer: nn.Module | None = None) -> Tensor:
    """Return how much each region of the images (N, C, H, W) supports its class (N,): (N, H, W), 0 to 1.

    Grad-CAM (Selvaraju et al., arXiv:1610.02391): the last convolution's channels, weighted by the mean of their gradient.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # the next layer may work in place

    hook = (layer or find_maps(model)[-1]).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # A gradient is needed even if all weights are frozen.
            logits = model(images.float().requires_grad_())
            (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept[0])
    finally:
        hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * kept[0]).sum(dim=1, keepdim=True).relu().detach()
    heat = interpolate(heat, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = heat.amin(dim=(1, 2), keepdim=True), heat.amax(dim=(1, 2), keepdim=True)
    return (heat - low) / (high - low).clamp(min=1e-9)


def patches(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield the regions that occlusion covers one after the other, in proportion to the image."""
    tall, wide = (max(1, round(side * COVERED)) for side in (height, width))
    for down in range(SPOTS):
        for across in range(SPOTS):
            top = round((down + 0.5) * height / SPOTS - tall / 2)
            left = round((across + 0.5) * width / SPOTS - wide / 2)
            yield slice(max(0, top), max(0, top) + tall), slice(max(0, left), max(0, left) + wide)


@torch.no_grad()
def occlusion(model: Classifier, image: Tensor, label: int) -> Tensor:
    """Return how much the probability of a class drops when a patch covers each position: (H, W)."""
    height, width = image.shape[1:]
    regions = list(patches(height, width))
    covered = image[None].repeat(len(regions) + 1, 1, 1, 1)
    for at, (rows, columns) in enumerate(regions):
        covered[at, :, rows, columns] = 128
    parts = covered.split(limit_batch(32, image.shape))
    chances = torch.cat([model(some).float().softmax(dim=1)[:, label] for some in parts])
    fall = (chances[-1] - chances[:-1]).view(1, 1, SPOTS, SPOTS)
    return interpolate(fall, size=(height, width), mode="bilinear")[0, 0].cpu()


def show_attention(model: Classifier, images: Tensor, titles: list[str], labels: Tensor) -> list[Row]:
    """Return three rows: the images with what is predicted, Grad-CAM over them, and occlusion over them."""
    heat = grad_cam(model, images, labels).cpu()
    plain = [picture(image) for image in images]
    falls = [occlusion(model, image, int(label)) for image, label in zip(images, labels, strict=True)]
    top = max(*(float(fall.abs().max()) for fall in falls), FAINT)
    cams = [
        Tile(
            overlay(base, colour(each.numpy(), "inferno")),
            (title, *([] if each.max() > 0 else ["nothing: map is empty"])),
        )
        for base, each, title in zip(plain, heat, titles, strict=True)
    ]
    covers = [
        Tile(
            overlay(base, colour(fall.numpy(), "coolwarm", -top, top)),
            (title, f"largest drop {max(float(fall.max()), 0.0):.0%}"),
        )
        for base, fall, title in zip(plain, falls, titles, strict=True)
    ]
    return [
        Row("Image", tuple(Tile(base, (title,)) for base, title in zip(plain, titles, strict=True))),
        Row("Grad-CAM", tuple(cams), Scale("inferno", "no support", "most support")),
        Row("Occlusion", tuple(covers), Scale("coolwarm", f"probability rises by {top:.0%}", f"falls by {top:.0%}")),
    ]
