"""How to train a model: a frozen dataclass, and command-line options generated from it.

Nothing here imports torch.
"""

import argparse
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import TrainingError
from ..program import duration, number

T = TypeVar("T")
METAVARS = {duration: "TIME", Path: "DIR"}

CLOSED_FORM = ("rule", "majority", "mean-image")
"""Closed-form models: computed directly instead of trained in steps."""
SMALL = ("linear", "mlp", "lenet", "small", "resnet6", "resnet9", "efficientnet_lite0")
"""Models of this package that are trained in steps; torchvision's keep their own names."""

LR = {"linear": 0.005, "mlp": 0.003, "lenet": 0.01, "small": 0.01, "resnet6": 0.006, "resnet9": 0.01}
PRETRAINED_LR = 0.002


def knob(default: Any, text: str, kind: Any = None, **more: Any) -> Any:
    """Return a dataclass field with the help and parser of its option."""
    return field(default=default, metadata={"help": text, "kind": kind, **more})


@dataclass(frozen=True)
class Recipe:
    """How to train; every value has a sensible default."""

    epochs: int = knob(0, "epochs (5; with a time budget, as many as fit)", number(int, 1))
    batch_size: int = knob(128, "images per step, over all processes", number(int, 2))
    lr: float | None = knob(None, "peak learning rate (default depends on the model)", number(float, 0, above=True))
    seed: int = knob(0, "random seed for weights, image order and split", number(int, 0, 2**62))
    optimizer: str = knob(
        "adamw", "adamw, muon (for convolutions), or sgd with Nesterov momentum", choices=("adamw", "muon", "sgd")
    )
    weight_decay: float = knob(0.01, "weight decay, not applied to norms and biases", number(float, 0))
    schedule: str = knob("one-cycle", "learning rate schedule", choices=("one-cycle", "cosine", "constant"))
    warm_up: float = knob(0.25, "fraction of the steps for warm-up", number(float, 0, 0.9))
    time_budget_s: float = knob(0.0, "stop after this time (10m, 90s), with the schedule fitted to it", duration)
    label_smoothing: float = knob(0.1, "label smoothing, of classes and labels", number(float, 0, 0.9))
    flip: bool = knob(False, "randomly flip images horizontally")
    crop: int = knob(0, "randomly shift images by up to this many pixels", number(int, 0))
    zoom: float = knob(
        0.0, "randomly crop a square with a side of at least 1 minus this fraction", number(float, 0, 0.9)
    )
    resized_crop: float = knob(
        0.0, "random resized crop: of at least this fraction of the area, stretched by up to 4:3", number(float, 0, 1)
    )
    rotate: float = knob(0.0, "randomly rotate by up to this many degrees", number(float, 0, 180))
    warp: float = knob(0.0, "randomly tilt images in perspective, as fastai's max_warp (0.2)", number(float, 0, 0.45))
    lighting: float = knob(0.0, "randomly change brightness and contrast by this fraction", number(float, 0, 0.9))
    trivial_augment: bool = knob(False, "one random change of random strength for each image (arXiv:2103.10158)")
    rand_augment: int = knob(
        0,
        "RandAugment: two random changes of this strength, 9 as in torchvision (arXiv:1909.13719)",
        number(int, 0, 30),
    )
    erase: float = knob(0.0, "randomly erase a rectangle of up to this fraction of the area", number(float, 0, 0.9))
    class_weights: bool = knob(False, "weigh classes by their rarity in the loss")
    mixup: float = knob(0.0, "mixup alpha (https://arxiv.org/abs/1710.09412)", number(float, 0))
    cutmix: float = knob(0.0, "CutMix alpha (https://arxiv.org/abs/1905.04899)", number(float, 0))
    progressive: float = knob(
        0.0, "progressive resizing: start at this fraction of the image size", number(float, 0, 1)
    )
    ema: float = knob(
        0.0, "use an exponential moving average of the weights with this decay (e.g. 0.99)", number(float, 0, 0.99999)
    )
    accumulate: int = knob(1, "gradient accumulation: micro-batches per step, to use less memory", number(int, 1))
    clip: float = knob(0.0, "clip gradients to this norm", number(float, 0))
    early_stop: int = knob(0, "stop after this many epochs without improvement on a validation split", number(int, 0))
    tta: bool = knob(False, "test-time augmentation: average over each image and its mirror image")
    precision: str = knob(
        "auto", "auto measures which is fastest", choices=("auto", "float32", "bfloat16", "float16"), metavar="TYPE"
    )
    layout: str = knob("auto", "auto measures which is fastest", choices=("auto", "channels_last", "contiguous"))
    runtime: str = knob(
        "auto",
        "auto measures whether CUDA graphs are faster than eager",
        choices=("auto", "eager", "graph", "compile"),
    )
    compile: bool = knob(False, "let --runtime auto try torch.compile too, which takes a minute on a GPU")

    @property
    def peak_lr(self) -> float:
        """Return the peak learning rate; raises TrainingError if it is not set."""
        if not self.lr or not self.lr > 0:
            raise TrainingError("the recipe has no learning rate: set lr, for example to default_lr() of the model")
        return self.lr

    @property
    def most_epochs(self) -> int:
        """Return the maximum number of epochs; a time budget may end training earlier."""
        return self.epochs or (10_000 if self.time_budget_s else 5)


def add_options(parser: argparse.ArgumentParser, value: T) -> None:
    """Add an option for each field of a dataclass, with the values of `value` as defaults."""
    for each in fields(value):  # type: ignore[arg-type]
        if "help" in each.metadata:
            add_option(parser, each, getattr(value, each.name))


def add_option(parser: argparse.ArgumentParser, each: "Field[Any]", default: Any) -> None:
    """Add the option of one field."""
    name = option(each.name)
    text, kind = each.metadata["help"], each.metadata["kind"]
    if isinstance(default, bool):
        parser.add_argument(name, dest=each.name, action=argparse.BooleanOptionalAction, default=default, help=text)
        return
    shown = text if default in (0, None) else f"{text} ({default})"
    more = {key: value for key, value in each.metadata.items() if key not in ("help", "kind")}
    if kind:
        more["metavar"] = METAVARS.get(kind) or ("N" if isinstance(default, int) else "X")
        more["type"] = kind
    parser.add_argument(name, dest=each.name, default=default, help=shown.replace("%", "%%"), **more)


def option(name: str) -> str:
    """Return the option name of a field."""
    return f"--{name.removesuffix('_s').replace('_', '-')}"


def pick(cls: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from those `values` that are its fields."""
    return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})  # type: ignore[arg-type]


def default_lr(model: str, pretrained: bool) -> float:
    """Return the peak learning rate that works for this model with AdamW."""
    return PRETRAINED_LR if pretrained else LR.get(model, PRETRAINED_LR)
