"""Which pixels a decision depends on: integrated gradients, and patches that change it when covered.

Grad-CAM and occlusion are in look/inside.py, where the report on all test images uses them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.memory import limit_batch
from ..look.inside import patches
from ..models import Classifier

STEPS = 32
COVER = 128
"""What covers a patch: mid-grey."""


def integrated_gradients(model: Classifier, image: Tensor, label: int, steps: int = STEPS) -> Tensor:
    """Return how much each pixel of an image (C, H, W) adds to the logit of a class: (H, W).

    Integrated gradients (Sundararajan et al., arXiv:1703.01365): the gradient's mean on the way from a mid-grey image, times
    how far each pixel is from grey. So the sum is the difference of the two logits. The midpoint of each step is used.
    """
    start = torch.full_like(image, COVER, dtype=torch.float32)
    way = image.float() - start
    shares = (torch.arange(steps, dtype=torch.float32, device=image.device) + 0.5) / steps
    total = torch.zeros_like(way)
    for part in shares.split(limit_batch(8, image.shape)):
        points = (start + part[:, None, None, None] * way).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(model(points)[:, label].sum(), points)
        total += gradient.sum(dim=0)
    return (way * total / steps).sum(dim=0).cpu()


@dataclass(frozen=True)
class Flip:
    """A changed image, and what the model makes of it."""

    image: Tensor
    label: int
    chance: float
    patches: int
    """How many patches are covered; 0 if none was enough."""


@torch.no_grad()
def cover_until_changed(model: Classifier, image: Tensor, label: int, most: int = 12) -> Flip | None:
    """Cover the patches that lower the probability of a class most, until another is likelier.

    Returns None if `most` patches are not enough. Each next patch is the best one given those before it.
    """
    regions = list(patches(*image.shape[1:]))
    covered = image.clone()
    for count in range(1, most + 1):
        tried = covered[None].repeat(len(regions), 1, 1, 1)
        for at, (rows, columns) in enumerate(regions):
            tried[at, :, rows, columns] = COVER
        parts = tried.split(limit_batch(32, image.shape))
        chances = torch.cat([model(some).float().softmax(dim=1) for some in parts])
        best = int(chances[:, label].argmin())
        covered = tried[best]
        said = int(chances[best].argmax())
        if said != label:
            return Flip(covered, said, float(chances[best, said]), count)
    return None


def change(image: Tensor) -> Sequence[tuple[str, Tensor]]:
    """Return an image (C, H, W) changed in ways that leave what it shows the same, each with its name."""
    grey = image.float().mean(dim=0, keepdim=True).expand_as(image).round().to(torch.uint8)
    side = max(1, image.shape[1] // 16)
    small = torch.nn.functional.interpolate(
        image[None].float(), size=tuple(max(1, length // side) for length in image.shape[1:]), mode="area"
    )
    blurred = torch.nn.functional.interpolate(small, size=tuple(image.shape[1:]), mode="bilinear")[0]
    found = [
        ("mirrored", image.flip(2)),
        ("upside down", image.flip(1)),
        ("turned by 90°", image.rot90(1, (1, 2))),
        ("without colour", grey),
        ("half as bright", (image.float() / 2).to(torch.uint8)),
        ("coarse", blurred.round().clamp(0, 255).to(torch.uint8)),
        ("inverted", 255 - image),
    ]
    square = image.shape[1] == image.shape[2]
    return [
        each
        for each in found
        if (square or each[0] != "turned by 90°") and (image.shape[0] > 1 or each[0] != "without colour")
    ]
