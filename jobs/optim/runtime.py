"""How a network's passes are started: operation by operation, as CUDA graphs, or compiled.

A small network's GPU computes each operation sooner than Python can start the next. A CUDA graph records all operations of
a pass once and starts them together; torch.compile also joins them, but takes a minute first. Which pays depends on network
and GPU, so `precision.choose` times them.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import cast

import torch
from torch import Tensor, nn

from ..program import say

RUNTIMES = ("eager", "graph", "compile")
Network = Callable[[Tensor], Tensor]
"""Images to logits."""


def start_with(runtime: str, model: nn.Module) -> Network:
    """Return the network, to be started in this way."""
    if runtime == "compile":
        compiled: Network = torch.compile(model)
        return compiled
    return Graphed(model) if runtime == "graph" else model


class Graphed:
    """A network whose passes are recorded as CUDA graphs with the first batch, and then replayed.

    Batches of another shape or type, and all of them if recording fails, go through the network itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.recorded: Network = model
        self.form: tuple[object, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits."""
        form = (images.shape, images.dtype, self.model.training)
        if not self.form:
            self.form = form
            self.recorded = record(self.model, images)
        return (self.recorded if form == self.form else self.model)(images)


def record(model: nn.Module, images: Tensor) -> Network:
    """Return the network as CUDA graphs for such images; if that fails, say why and return it unchanged.

    Recording runs the network several times: norm statistics and random numbers are put back.
    """
    kept = [buffer.clone() for buffer in model.buffers()]
    body = nn.Sequential(model)  # torch replaces the forward method of what it records
    kind = images.device.type
    mixed = torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False)
    try:
        with torch.random.fork_rng([images.device] if images.is_cuda else []), mixed:
            recorded = cast("Network", torch.cuda.make_graphed_callables(body, (images.clone(),)))
    except (RuntimeError, AssertionError) as error:  # torch's, for what a graph cannot hold or has no memory for
        say(f"without CUDA graphs: {(str(error).splitlines() or [type(error).__name__])[0]}")
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
        recorded = model
    for buffer, value in zip(model.buffers(), kept, strict=True):
        buffer.copy_(value)
    return recorded
