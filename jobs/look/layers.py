"""The layers of a network in the order in which an image passes them, with their shapes."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..models import Classifier
from ..models.classifier import find_maps

NORMS = (nn.BatchNorm2d, nn.GroupNorm)


@dataclass(frozen=True)
class Layer:
    """One layer without others inside it."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    """Of its output for one image."""
    parameters: int
    field: int
    """Side of the square of pixels that one position depends on, as if every layer followed the one before it."""
    linear: nn.Module | None = None
    """For a depth, what its ReLU is applied to: a convolution or its norm."""


def trace(model: Classifier, shape: tuple[int, int, int]) -> list[Layer]:
    """Return the layers as one image (C, H, W) passes them; a layer that is used twice comes twice."""
    names = {module: name for name, module in model.net.named_modules()}
    found: list[Layer] = []
    reach = [1, 1]  # pixels that a position sees, and pixels from one position to the next

    def note(module: nn.Module, _: object, output: Any) -> None:
        if isinstance(output, Tensor):
            kernel, stride = (side_of(getattr(module, name, 1)) for name in ("kernel_size", "stride"))
            reach[0] += (kernel - 1) * reach[1]
            reach[1] *= stride
            parameters = sum(p.numel() for p in module.parameters())
            found.append(Layer(names[module], module, tuple(output.shape[1:]), parameters, reach[0]))

    leaves = [module for module in names if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    device = model.mean.device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def side_of(value: Any) -> int:
    """Return a kernel's size or stride along one side."""
    first = value[0] if isinstance(value, tuple) else value
    return first if isinstance(first, int) else 1


def find_depths(model: Classifier, shape: tuple[int, int, int], most: int) -> list[Layer]:
    """Return at most `most` depths, from the first convolution to the last, each after its ReLU."""
    convolutions = set(find_maps(model))
    ends: list[Layer] = []
    for layer in trace(model, shape):
        if layer.module in convolutions:
            ends.append(replace(layer, linear=layer.module))
        elif ends and len(layer.shape) == 3 and follows(layer, ends[-1]):
            linear = layer.module if isinstance(layer.module, NORMS) else ends[-1].linear
            ends[-1] = replace(ends[-1], module=layer.module, shape=layer.shape, field=layer.field, linear=linear)
    chosen = torch.linspace(0, len(ends) - 1, min(most, len(ends))).round().long().tolist()
    return [ends[at] for at in chosen]


def follows(layer: Layer, conv: Layer) -> bool:
    """Return whether a layer is the norm, activation or pooling of a convolution."""
    kinds = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.MaxPool2d)
    return isinstance(layer.module, (*NORMS, *kinds)) and layer.shape[0] == conv.shape[0]


def write_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of an output in words that a table has room for: 64 x 56 x 56."""
    return " x ".join(map(str, shape))
