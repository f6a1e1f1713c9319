"""How a model is trained: one frozen value, and the options of the command line made from it.

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

CLOSED_FORM = ("majority", "mean-image")
"""Closed-form models: computed at once instead of trained by steps."""
SMALL = ("linear", "mlp", "lenet", "small", "resnet6", "resnet9", "efficientnet_lite0")
"""Models of this package that are trained by steps; classifiers of torchvision go by their own names."""

LR = {"linear": 0.005, "mlp": 0.003, "lenet": 0.01, "small": 0.01, "resnet6": 0.006, "resnet9": 0.01}
PRETRAINED_LR = 0.002


def knob(default: Any, text: str, kind: Any = None, **more: Any) -> Any:
    """Return a field that is an option too, with its help and its parser."""
    return field(default=default, metadata={"help": text, "kind": kind, **more})


@dataclass(frozen=True)
class Recipe:
    """How to train; every figure has a default that works."""

    epochs: int = knob(0, "passes over the training set (5; with a time budget, as many as it allows)", number(int, 1))
    batch_size: int = knob(128, "images a step, over all processes", number(int, 2))
    lr: float | None = knob(None, "peak learning rate (the model's own)", number(float, 0, above=True))
    seed: int = knob(0, "decides the first weights, the order of images and the split", number(int, 0, 2**62))
    optimizer: str = knob(
        "adamw", "adamw, muon for convolutions, or sgd with Nesterov momentum", choices=("adamw", "muon", "sgd")
    )
    weight_decay: float = knob(0.01, "decay of the weights, not of norms and biases", number(float, 0))
    schedule: str = knob("one-cycle", "how the rate goes", choices=("one-cycle", "cosine", "constant"))
    warm_up: float = knob(0.25, "share of the steps in which the rate climbs", number(float, 0, 0.9))
    time_budget_s: float = knob(0.0, "end after so long, as 10m or 90s, with the rate annealed by then", duration)
    label_smoothing: float = knob(0.1, "share of the target spread over all classes", number(float, 0, 0.9))
    flip: bool = knob(False, "mirror half of the images")
    crop: int = knob(0, "shift images by up to so many pixels", number(int, 0))
    zoom: float = knob(0.0, "cut out a square of at least 1 minus this share of the side", number(float, 0, 0.9))
    erase: float = knob(0.0, "grey out a rectangle of up to this share of the area", number(float, 0, 0.9))
    mixup: float = knob(0.0, "alpha of mixup (https://arxiv.org/abs/1710.09412)", number(float, 0))
    cutmix: float = knob(0.0, "alpha of CutMix (https://arxiv.org/abs/1905.04899)", number(float, 0))
    progressive: float = knob(0.0, "start with images of this share of the side, end whole", number(float, 0, 1))
    ema: float = knob(
        0.0, "evaluate a moving average of the weights with this decay, such as 0.99", number(float, 0, 0.99999)
    )
    accumulate: int = knob(1, "micro-batches that a step is cut into, to need less memory", number(int, 1))
    clip: float = knob(0.0, "longest gradient; longer ones are cut to it", number(float, 0))
    early_stop: int = knob(0, "end after so many epochs without gain on images held out for it", number(int, 0))
    tta: bool = knob(False, "predict the mean over each image and its mirror image")
    precision: str = knob(
        "auto", "auto is timed at the start", choices=("auto", "float32", "bfloat16", "float16"), metavar="TYPE"
    )
    layout: str = knob("auto", "auto is timed at the start", choices=("auto", "channels_last", "contiguous"))
    compile: bool = knob(False, "let torch.compile make kernels of the network")

    @property
    def peak_lr(self) -> float:
        """Return the peak learning rate. Raises TrainingError if there is none: nothing would be learned."""
        if not self.lr or not self.lr > 0:
            raise TrainingError("the recipe has no learning rate: set lr; default_lr() names one for each model")
        return self.lr

    @property
    def most_epochs(self) -> int:
        """Return how many epochs there are at most; a time budget may end them earlier."""
        return self.epochs or (10_000 if self.time_budget_s else 5)


def add_options(parser: argparse.ArgumentParser, value: T) -> None:
    """Add an option for each knob of a dataclass, with the figures of `value` as defaults."""
    for each in fields(value):  # type: ignore[arg-type]
        if "help" in each.metadata:
            add_option(parser, each, getattr(value, each.name))


def add_option(parser: argparse.ArgumentParser, each: "Field[Any]", default: Any) -> None:
    """Add the option of one knob."""
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
    """Return the option of the knob of this name."""
    return f"--{name.removesuffix('_s').replace('_', '-')}"


def pick(cls: type[T], values: dict[str, Any]) -> T:
    """Return a dataclass from those of `values` that are its fields."""
    return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})  # type: ignore[arg-type]


def default_lr(model: str, pretrained: bool) -> float:
    """Return the peak rate for AdamW that works for a model of this name."""
    return PRETRAINED_LR if pretrained else LR.get(model, PRETRAINED_LR)
