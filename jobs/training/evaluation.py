"""What a model says of images, and how often it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data import Split
from ..data.batches import batches
from .distributed import DistributedContext

BATCH = 500


@torch.inference_mode()
def predict(model: nn.Module, part: Split, tta: bool = False, batch_size: int = BATCH) -> Tensor:
    """Return the probabilities (N, classes), float32 on the CPU.

    In float32 whatever the training used: weights that are loaded again then score what was reported. With `tta` the
    mean over each image and its mirror image.
    """
    device = next(iter(model.state_dict().values())).device
    model.eval()
    labelled = part if len(part.labels) else Split(part.images, torch.zeros(len(part), dtype=torch.int64), part.names)
    found = []
    for images, _ in batches(labelled, torch.arange(len(part)), batch_size, device):
        logits = model(images)
        if tta:
            logits = (logits + model(images.flip(3))) / 2
        found.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(found)


def evaluate(
    model: nn.Module, part: Split, tta: bool = False, place: DistributedContext | None = None, batch_size: int = BATCH
) -> float:
    """Return the share of the images that get their label; with several processes each looks at its share of them."""
    rank, world, count = (place.rank, place.world, len(part)) if place else (0, 1, len(part))
    mine = part.take(torch.arange(rank, count, world)) if world > 1 else part
    right = torch.zeros(())
    if len(mine):
        right += (predict(model, mine, tta, batch_size).argmax(dim=1) == mine.labels.cpu()).sum()
    if place and world > 1:
        right = place.total(right.to(place.device))
    return round(right.item()) / count


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.half != self.half else f"{self.mean:.4f} ± {self.half:.4f}"


T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t for 95 %, from one degree of freedom on."""


def interval(values: Sequence[float]) -> Interval:
    """Return mean and 95 % interval of repeated measurements, by Student's t; of a single one the interval is nan."""
    found = torch.tensor(values, dtype=torch.float64)
    if len(values) < 2:
        return Interval(found.mean().item(), float("nan"))
    t = T_95[min(len(values) - 2, len(T_95) - 1)]
    return Interval(found.mean().item(), t * (found.std() / len(values) ** 0.5).item())
