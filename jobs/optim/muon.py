"""Muon: a step whose every direction is as long as the others, for the weights of convolutions.

Keller Jordan et al., "Muon: an optimizer for hidden layers" (https://kellerjordan.github.io/posts/muon/): the gradient's
running mean is taken as a matrix and replaced by the nearest orthogonal one, so that a step turns all of what a layer can
do by as much, not only the few directions that dominate the gradient. Fashion-MNIST needs a third fewer epochs with it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .precision import has_bfloat16

FIFTH_ORDER = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, Jordan's: steepest at zero, where a few rounds must lift small directions."""
ROUNDS = 5
RMS = 0.2
"""How large AdamW's steps are by its rate (Liu et al., arXiv:2502.16982): with it both go by one rate."""
EPS = 1e-8


class Muon(Optimizer):
    """Orthogonal steps for the groups marked `matrix`, AdamW's for the others; both by the same rate and momentum."""

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": (0.95, 0.999), "weight_decay": 0.0, "matrix": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Adjust all weights that have a gradient, after asking `closure` for the loss, if given, as torch's do."""
        loss = None
        if closure:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alter = turn if group["matrix"] else adapt
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    alter(weight, weight.grad, self.state[weight], group["lr"], *group["betas"])
        return loss


def turn(weight: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float, keep: float, _: float) -> None:
    """Take Muon's step with Nesterov's momentum; a convolution's weights are a row for each output channel."""
    if not state:
        state["mean"] = torch.zeros_like(weight)
    mean = state["mean"].lerp_(gradient, 1 - keep)
    matrix = gradient.lerp(mean, keep).flatten(1)
    weight.add_(orthogonalise(matrix).view(weight.shape), alpha=-lr * RMS * max(matrix.shape) ** 0.5)


def adapt(
    weight: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float, keep: float, keep_square: float
) -> None:
    """Take Adam's step (Kingma and Ba, arXiv:1412.6980)."""
    if not state:
        state |= {"step": torch.zeros(()), "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
    steps = state["step"].add_(1).item()
    mean = state["mean"].lerp_(gradient, 1 - keep)
    square = state["square"].lerp_(gradient.square(), 1 - keep_square)
    scale = (square / (1 - keep_square**steps)).sqrt_().add_(EPS)
    weight.addcdiv_(mean, scale, value=-lr / (1 - keep**steps))


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix with orthogonal rows, or columns: singular values go to between 0.7 and 1.2."""
    fast = matrix.is_cuda or (matrix.device.type == "cpu" and has_bfloat16())
    found = matrix.to(torch.bfloat16 if fast else torch.float32)
    found = found.T if len(matrix) > matrix.shape[1] else found
    found = found / found.norm().clamp(min=EPS)
    first, third, fifth = FIFTH_ORDER
    for _ in range(ROUNDS):
        square = found @ found.T
        found = torch.addmm(found, torch.addmm(square, square, square, beta=third, alpha=fifth), found, beta=first)
    return (found.T if len(matrix) > matrix.shape[1] else found).to(matrix.dtype)


def is_matrix(module: nn.Module) -> bool:
    """Return whether Muon should take a layer's weights: a convolution of features, not of the image's own channels."""
    return isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels > 3
