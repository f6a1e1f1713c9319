"""Optimizers over groups of layers, and the moving average of the weights."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ..config.recipe import Recipe
from .muon import Muon, is_matrix


def make_optimizer(groups: Sequence[Sequence[nn.Module]], peaks: Sequence[float], recipe: Recipe) -> Optimizer:
    """Return an optimizer over groups of layers, each with its own peak rate; norms and biases are not decayed."""
    sets = []
    for modules, peak in zip(groups, peaks, strict=True):
        layers = [layer for module in modules for layer in module.modules()]
        matrices = {id(layer.weight) for layer in layers if recipe.optimizer == "muon" and is_matrix(layer)}
        weights = [p for module in modules for p in module.parameters() if p.requires_grad]
        for decayed, matrix in ((True, True), (True, False), (False, False)):
            chosen = [p for p in weights if (p.dim() > 1, id(p) in matrices) == (decayed, matrix)]
            if chosen:
                decay = recipe.weight_decay if decayed else 0.0
                sets.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay, "matrix": matrix})
    if recipe.optimizer == "muon":
        return Muon(sets, peaks[-1])
    # Fused: one kernel for all weights, on CPU too.
    fused = all(p.device.type in ("cpu", "cuda") for group in sets for p in group["params"])  # type: ignore[attr-defined]
    if recipe.optimizer == "sgd":
        return SGD(sets, lr=peaks[-1], momentum=0.9, nesterov=True, fused=fused)
    return AdamW(sets, lr=peaks[-1], fused=fused)


class Average:
    """An exponential moving average of weights and norms' statistics, which often judges better than the last ones."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after a step; the first steps are forgotten faster."""
        mine, theirs = tensors(self.model), tensors(model)
        decay = min(self.decay, (1 + step) / (10 + step))
        floats = [at for at, value in enumerate(mine) if value.is_floating_point()]
        torch._foreach_lerp_([mine[at] for at in floats], [theirs[at] for at in floats], 1 - decay)
        for at, value in enumerate(mine):
            if not value.is_floating_point():
                value.copy_(theirs[at])


def tensors(model: nn.Module) -> list[Tensor]:
    """Return weights and buffers, in order."""
    return [*(p.detach() for p in model.parameters()), *model.buffers()]
