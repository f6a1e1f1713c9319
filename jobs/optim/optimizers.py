"""Configure torch's optimizers for groups of layers, and the moving average of weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from ..config.recipe import Recipe
from .muon import Muon, is_matrix

FUSED = ("cpu", "cuda")
"""Devices where one kernel updates all weights; elsewhere torch falls back to slower loops."""


@dataclass(frozen=True)
class LayerGroup:
    """Layers that share a peak learning rate."""

    modules: Sequence[nn.Module]
    lr: float

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights of all layers."""
        return [p for module in self.modules for p in module.parameters()]


def make_optimizers(groups: Sequence[LayerGroup], recipe: Recipe) -> tuple[Optimizer, ...]:
    """Return optimizers for all groups; norms and biases are not decayed."""
    matrices, others = [], []
    for group in groups:
        layers = [layer for module in group.modules for layer in module.modules()]
        orthogonal = {id(layer.weight) for layer in layers if recipe.optimizer == "muon" and is_matrix(layer)}
        weights = [p for p in group.parameters() if p.requires_grad]
        rest = [p for p in weights if id(p) not in orthogonal]
        matrices += parameter_set([p for p in weights if id(p) in orthogonal], group.lr, recipe.weight_decay)
        others += parameter_set([p for p in rest if p.dim() > 1], group.lr, recipe.weight_decay)
        others += parameter_set([p for p in rest if p.dim() <= 1], group.lr, 0.0)
    fused = all(p.device.type in FUSED for each in others for p in each["params"])
    found: list[Optimizer] = [Muon(matrices)] if matrices else []
    if others and recipe.optimizer == "sgd":
        found.append(SGD(others, momentum=0.9, nesterov=True, fused=fused))
    elif others:
        found.append(AdamW(others, fused=fused))
    return tuple(found)


def parameter_set(weights: list[nn.Parameter], lr: float, decay: float) -> list[dict[str, Any]]:
    """Return weights as a torch parameter group with their peak learning rate; empty without weights."""
    return [{"params": weights, "lr": lr, "peak": lr, "weight_decay": decay}] if weights else []


class Average(AveragedModel):
    """A moving average of weights and norm statistics, which often scores better.

    It forgets its start faster than `decay` alone would. torch's own update reads its counter from the GPU in each step,
    and waits for it; here the counter stays on the CPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self.requires_grad_(requires_grad=False)
        self.n_averaged += 1  # the average starts from the untrained weights

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the weights of `model`."""
        count = int(self.n_averaged.numpy())
        kept = min(self.decay, count / (9 + count))
        pairs = list(zip(values_of(self.module), values_of(model), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]  # of norms
        if floats:
            torch._foreach_lerp_([average for average, _ in floats], [value for _, value in floats], 1 - kept)
        if counters:
            torch._foreach_copy_([average for average, _ in counters], [value for _, value in counters])
        self.n_averaged += 1


def values_of(model: nn.Module) -> list[Tensor]:
    """Return the weights and buffers of a network."""
    return [*(weight.detach() for weight in model.parameters()), *model.buffers()]
