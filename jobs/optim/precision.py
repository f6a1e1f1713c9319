"""Choose number type, memory layout and runtime by timing them on the machine's own batches.

On a CPU with bfloat16 instructions, one network trains twice as fast with it and another one more slowly; only a
measurement can tell.
"""

import copy
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..config.recipe import Recipe
from ..program import say
from .runtime import Network, start_with

ROUNDS = 3
GPU_STEPS = 10
"""Timed together on a GPU, which starts one step while it still computes the last."""
GAIN = 1.03
"""A runtime other than eager must be so much faster: it holds more memory, and takes time to start."""


@dataclass(frozen=True)
class Execution:
    """Number type, memory layout and runtime."""

    precision: str
    layout: str
    runtime: str = "eager"

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


def choose(
    model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, runtimes: Sequence[str] = ("eager",)
) -> Execution:
    """Time the candidates, then the runtimes, on copies of the network; print and return the fastest."""
    tries = candidates(recipe, images.device)
    best = tries[0]
    if len(tries) > 1:
        rates = measure(model, images, labels, tries)
        best = max(tries, key=lambda each: rates[each])
        shown = ", ".join(f"{each.precision} {each.layout} {rate:,.0f}" for each, rate in rates.items())
        say(f"precision {best.precision}, layout {best.layout} (images/s: {shown})")
    best, *others = (replace(best, runtime=runtime) for runtime in runtimes)
    if others:
        rates = measure(model, images, labels, [best, *others])
        fastest = max(others, key=lambda each: rates[each])
        best = fastest if rates[fastest] > GAIN * rates[best] else best
        shown = ", ".join(f"{each.runtime} {rate:,.0f}" for each, rate in rates.items())
        say(f"runtime {best.runtime} (images/s: {shown})")
    return best


def measure(model: nn.Module, images: Tensor, labels: Tensor, tries: Sequence[Execution]) -> dict[Execution, float]:
    """Return the images per second of each candidate; 0 for one that fails."""
    took = dict.fromkeys(tries, float("inf"))
    copies = {each: copy.deepcopy(model).to(memory_format=each.format).train() for each in tries}
    ready = {each: start_with(each.runtime, network) for each, network in copies.items()}
    with kept_random_numbers():
        for turn in range(1 + ROUNDS):  # in turn, so that a busy moment is not decisive; the first round is a warm-up
            for each in list(ready):
                try:
                    seconds = time_step(copies[each], ready[each], images, labels, each)
                except Exception as error:
                    if each.runtime != "compile":
                        raise
                    say(f"torch.compile failed: {(str(error).splitlines() or [type(error).__name__])[0]}")
                    del ready[each]
                    continue
                if turn:
                    took[each] = min(took[each], seconds)
    del ready, copies
    if images.is_cuda:  # recorded graphs refer to themselves, and hold memory
        gc.collect()
        torch.cuda.empty_cache()
    return {each: len(images) / seconds for each, seconds in took.items()}


def time_step(model: nn.Module, network: Network, images: Tensor, labels: Tensor, execution: Execution) -> float:
    """Return the seconds of one forward and backward pass of `network`, which runs `model`."""
    steps = GPU_STEPS if images.is_cuda else 1
    wait(images.device)
    began = time.perf_counter()
    for _ in range(steps):
        model.zero_grad()
        with execution.autocast(images.device):
            logits = network(images)
        cross_entropy(logits.float(), labels).backward()  # of labels and numbers too, as shares: any loss is as quick
    wait(images.device)
    return (time.perf_counter() - began) / steps


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def kept_random_numbers() -> Iterator[None]:
    """Restore torch's random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        yield
