"""What the layers see: learned filters, feature maps, and the places that a decision hangs on."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..models import Classifier
from ..models.classifier import find_maps
from .plots import figure

MOST_FILTERS, MOST_LAYERS, MAPS = 64, 6, 8


def picture(image: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return an image (C, H, W) as matplotlib shows it."""
    shown: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = image.cpu().permute(1, 2, 0).numpy()
    return shown[..., 0] if shown.shape[2] == 1 else shown


def draw_filters(model: Classifier, path: Path) -> None:
    """Draw the filters of the first convolution; grey ones where they do not look at three colours."""
    weights = find_maps(model)[0].weight.detach().float().cpu()[:MOST_FILTERS]
    rows = -(-len(weights) // 8)
    with figure(path, rows, min(8, len(weights)), (6.4, 0.8 * rows + 0.3)) as axes:
        for at, axis in enumerate(np.ravel(axes)):
            axis.axis("off")
            if at < len(weights):
                one = weights[at]
                one = (one - one.min()) / (one.max() - one.min()).clamp(min=1e-9)
                axis.imshow(picture(one) if len(one) == 3 else one.mean(dim=0).numpy(), cmap="gray")


@torch.no_grad()
def draw_maps(model: Classifier, image: Tensor, path: Path) -> None:
    """Draw the strongest channels of some convolutions, from first to last, for an image (C, H, W)."""
    layers = find_maps(model)
    chosen = [layers[at] for at in torch.linspace(0, len(layers) - 1, min(MOST_LAYERS, len(layers))).long().tolist()]
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *given: seen.append(given[2][0].float().cpu())) for layer in chosen]
    try:
        model(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    with figure(path, len(chosen), MAPS + 1, (7.2, 0.85 * len(chosen) + 0.2)) as axes:
        for row, maps in zip(np.reshape(axes, (len(chosen), MAPS + 1)), seen, strict=True):
            strongest = maps.amax(dim=(1, 2)).topk(min(MAPS, len(maps))).indices
            for axis in row:
                axis.axis("off")
            row[0].imshow(picture(image), cmap="gray")
            for axis, channel in zip(row[1:], strongest.tolist(), strict=False):
                axis.imshow(maps[channel].relu().numpy(), cmap="viridis")


def grad_cam(model: Classifier, images: Tensor, classes: Tensor, layer: nn.Module | None = None) -> Tensor:
    """Return where each image (N, C, H, W) speaks for its class (N,): (N, H, W) from 0 to 1.

    Grad-CAM (Selvaraju et al., arXiv:1610.02391): the last convolution's channels, weighted by the mean of their gradient.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # the next layer may work in place

    hook = (layer or find_maps(model)[-1]).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            # A gradient is needed even where all weights are frozen.
            logits = model(images.float().requires_grad_())
            (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept[0])
    finally:
        hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * kept[0]).sum(dim=1, keepdim=True).relu().detach()
    heat = interpolate(heat, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = heat.amin(dim=(1, 2), keepdim=True), heat.amax(dim=(1, 2), keepdim=True)
    return (heat - low) / (high - low).clamp(min=1e-9)


@torch.no_grad()
def occlusion(model: Classifier, image: Tensor, label: int, patches: int = 8) -> Tensor:
    """Return how much the class's probability falls when a patch covers each spot of an image: (H, W)."""
    height, width = image.shape[1:]
    side = max(1, round(max(height, width) / patches * 1.5))
    centres = [
        (int((y + 0.5) * height / patches), int((x + 0.5) * width / patches))
        for y in range(patches)
        for x in range(patches)
    ]
    covered = image[None].repeat(len(centres) + 1, 1, 1, 1)
    for at, (y, x) in enumerate(centres):
        covered[at, :, max(0, y - side // 2) : y + side // 2 + 1, max(0, x - side // 2) : x + side // 2 + 1] = 128
    chances = torch.cat([model(some).float().softmax(dim=1)[:, label] for some in covered.split(32)])
    fall = (chances[-1] - chances[:-1]).view(1, 1, patches, patches)
    return interpolate(fall, size=(height, width), mode="bilinear")[0, 0].cpu()


def draw_attention(model: Classifier, images: Tensor, titles: list[str], labels: Tensor, path: Path) -> None:
    """Draw images, Grad-CAM over them, and occlusion: three rows."""
    heat = grad_cam(model, images, labels).cpu()
    with figure(path, 3, len(images), (1.3 * len(images), 4.3)) as axes:
        for at, column in enumerate(np.reshape(axes, (3, len(images))).T):
            for axis in column:
                axis.axis("off")
                axis.imshow(picture(images[at]), cmap="gray")
            column[0].set_title(titles[at], fontsize=8)
            column[1].imshow(heat[at].numpy(), cmap="inferno", alpha=0.55)
            fall = occlusion(model, images[at], int(labels[at]))
            column[2].imshow(fall.numpy(), cmap="coolwarm", alpha=0.55, vmin=-1, vmax=1)
