"""The device to train on, and this process's role under torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from ..errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class DistributedContext:
    """One process: its device, and its rank in `world`."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def has_room(self, size_bytes: int) -> bool:
        """Return whether this many bytes fit in half of a GPU's free memory; always true without a GPU."""
        return self.device.type != "cuda" or size_bytes < torch.cuda.mem_get_info(self.device)[0] / 2

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def agree(self, value: float) -> float:
        """Return the first process's value."""
        if self.world == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64 if self.device.type != "mps" else None, device=self.device)
        distributed.broadcast(said, 0)
        return said.item()

    def share(self, value: T) -> T:
        """Return the first process's value, which may be anything that pickle can carry."""
        said = [value]
        if self.world > 1:
            distributed.broadcast_object_list(said, 0, device=self.device)
        return said[0]


@contextmanager
def distributed_context(wanted: str) -> Iterator[DistributedContext]:
    """Yield this process's context on the requested device. Raises TrainingError.

    Under torchrun the processes find each other through its variables, with nccl on CUDA, otherwise gloo.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = find_device(wanted, int(os.environ.get("LOCAL_RANK", "0")))
    if world == 1:
        yield DistributedContext(device)
        return
    if distributed.is_initialized():  # one of several folds: a second group would find what the first left behind
        yield DistributedContext(device, rank, world)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield DistributedContext(device, rank, world)
    finally:
        distributed.destroy_process_group()


def find_device(wanted: str, local_rank: int = 0) -> torch.device:
    """Return the device. Raises TrainingError if it is unavailable."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, found in there.items() if found)
    if not there[wanted]:
        raise TrainingError(f"--device {wanted}: device not available; use --device cpu")
    if wanted == "cuda":
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    return torch.device(wanted)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over all processes; torch has this for CUDA only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name is torch's
        """Return the normalised features."""
        if not self.training or not distributed.is_initialized():
            return super().forward(input)
        values = input.float()
        moments = torch.stack([values.mean(dim=(0, 2, 3)), values.square().mean(dim=(0, 2, 3))])
        mean, square = all_reduce(moments) / distributed.get_world_size()
        variance = square - mean.square()
        with torch.no_grad():
            count = input.numel() / input.shape[1] * distributed.get_world_size()
            self.running_mean.lerp_(mean, self.momentum or 0.1)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum or 0.1)  # type: ignore[union-attr]
        scale = self.weight * (variance + self.eps).rsqrt()
        shaped = [figure.view(1, -1, 1, 1) for figure in (mean, scale, self.bias)]
        return ((values - shaped[0]) * shaped[1] + shaped[2]).to(input.dtype)


def share_norms(net: nn.Module) -> None:
    """Replace each batch norm in `net` with one that spans all processes."""
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(net, name, shared)
        else:
            share_norms(child)
