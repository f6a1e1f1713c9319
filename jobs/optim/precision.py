"""Choose number type and memory layout by timing them on the machine's own batches.

On a CPU with bfloat16 instructions, one network trains twice as fast with it and another one more slowly; only a
measurement can tell.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..config.recipe import Recipe
from ..program import say

ROUNDS = 3


@dataclass(frozen=True)
class Execution:
    """Number type and memory layout."""

    precision: str
    layout: str

    @property
    def dtype(self) -> torch.dtype:
        """The data type of convolutions and matrix products."""
        found: torch.dtype = getattr(torch, self.precision)
        return found

    @property
    def format(self) -> torch.memory_format:
        """The memory format of images."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the autocast context for the network."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)


def candidates(recipe: Recipe, device: torch.device) -> list[Execution]:
    """Return the candidates: the recipe's own choice, otherwise what the hardware supports."""
    if recipe.precision != "auto":
        precisions = [recipe.precision]
    elif device.type == "cuda":
        precisions = ["bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"]
    elif device.type == "cpu" and has_bfloat16():
        precisions = ["bfloat16", "float32"]
    else:
        precisions = ["float32"]
    layouts = ["channels_last", "contiguous"] if recipe.layout == "auto" else [recipe.layout]
    if recipe.layout == "auto" and device.type != "cpu":
        layouts = ["channels_last" if device.type == "cuda" else "contiguous"]
    return [Execution(precision, layout) for precision in precisions for layout in layouts]


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 natively; emulation is slower than float32."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def choose(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Execution:
    """Time the candidates on a copy of the network with this batch; print and return the fastest."""
    device = images.device
    tries = candidates(recipe, device)
    if len(tries) == 1:
        return tries[0]
    took = dict.fromkeys(tries, float("inf"))
    ready = {each: copy.deepcopy(model).to(memory_format=each.format) for each in tries}
    with kept_random_numbers():
        for turn in range(1 + ROUNDS):  # in turn, so that a busy moment does not decide; the first round is a warm-up
            for each in tries:
                seconds = time_step(ready[each], images, labels, each)
                if turn:
                    took[each] = min(took[each], seconds)
    best = min(tries, key=lambda each: took[each])
    rates = ", ".join(f"{e.precision} {e.layout} {len(images) / took[e]:,.0f}" for e in tries)
    say(f"precision {best.precision}, layout {best.layout} (images/s: {rates})")
    return best


def time_step(model: nn.Module, images: Tensor, labels: Tensor, execution: Execution) -> float:
    """Return the seconds of one forward and backward pass."""
    began = time.perf_counter()
    model.zero_grad()
    with execution.autocast(images.device):
        logits = model(images)
    cross_entropy(logits.float(), labels).backward()
    return time.perf_counter() - began


@contextmanager
def kept_random_numbers() -> Iterator[None]:
    """Restore torch's random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        yield
