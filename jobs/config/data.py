"""Which data to load: a frozen dataclass, and command-line options generated from it. No torch."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..program import levels, number
from .recipe import knob

NAMED = ("fashion-mnist", "mnist", "digits", "cifar10", "imagenette", "pets", "pet-breeds")
CATS_UPPERCASE = "cats-uppercase"
"""fast.ai's rule for the Oxford pets: names of cats start with a capital, those of dogs do not."""
SINGLE, MULTI, REGRESSION = "single-label", "multi-label", "regression"
"""The tasks: one class for each image, any number of labels, a number."""
THRESHOLD = 0.5
"""Of several labels, those are given that have this probability or more, unless `--threshold` says otherwise."""


@dataclass(frozen=True)
class DataConfig:
    """What to load and how to split it."""

    data: str = knob(
        "auto", f"{', '.join(NAMED)}, a folder with one subfolder per class, or a CSV file", metavar="DATA"
    )
    images: Path | None = knob(None, "base folder of the file names in a CSV file", Path)
    label: str | None = knob(
        None,
        "CSV column with the class, labels or number; for --multi-label also several of 0 and 1: A,B,C",
        metavar="COLUMN",
    )
    file: str | None = knob(None, "CSV column with the file name", metavar="COLUMN")
    group: str | None = knob(
        None, "CSV column of groups that must not be split between training and test", metavar="COLUMN"
    )
    label_from: str | None = knob(
        None,
        "class from each file's name: a regular expression (its group), cats-uppercase, or your function FILE.py:NAME",
        metavar="REGEX",
    )
    multi_label: bool = knob(False, "each image has any number of labels: several in a CSV cell, or columns of 0 and 1")
    label_separator: str | None = knob(
        None, "what is between the labels in a cell (default: the first of | ; , and space that is)", metavar="TEXT"
    )
    regression: bool = knob(False, "predict a number instead of a class: a CSV column, or --label-from")
    holdout: float = knob(0.2, "fraction of images to test on, if the data has no test split", number(float, 0.01, 0.9))
    size: int = knob(
        0, "image size in pixels (default: the original size if small, otherwise 128)", number(int, 1, 2048)
    )
    presize: int = knob(
        0, "hold training images at this size, and let augmentation scale them to --size", number(int, 1, 2048)
    )
    resize: str = knob(
        "crop",
        "how images become squares: their centre, all of it distorted, or with borders",
        choices=("crop", "squish", "pad"),
    )
    interpolation: str | None = knob(
        None, "how images are scaled (default: bilinear, for timm's models their own)", choices=("bilinear", "bicubic")
    )
    range: tuple[float, float] | None = knob(
        None, "values to show as black and white in images of more than 8 bits", levels, metavar="LOW:HIGH"
    )
    dedupe: bool = knob(False, "leave out training images that are also in the test set, identical or re-encoded")
    strict: bool = knob(False, "fail on a corrupt image instead of skipping it")
    stream: bool = knob(False, "decode images during training (default: only if they do not fit in memory)")
    seed: int = 0
    folds: int = 0
    """Into how many parts cross-validation divides the images; 0 for none."""
    fold: int = 0
    """The part to test on, from 1; the others are trained on. 0: the test part is that of the data, or held out."""

    @property
    def task(self) -> str:
        """Return the task's name; raises DataError for contradictory options."""
        several = self.multi_label or self.label_separator is not None
        if several and self.regression:
            raise DataError(
                f"--regression cannot be combined with --{'multi-label' if self.multi_label else 'label-separator'}"
            )
        return REGRESSION if self.regression else MULTI if several else SINGLE

    def ask(self, task: str) -> "DataConfig":
        """Return the same data for another task: that of a model."""
        separator = self.label_separator if task == MULTI else None
        return replace(self, multi_label=task == MULTI, regression=task == REGRESSION, label_separator=separator)


def is_function(label_from: str) -> bool:
    """Return whether labels come from FILE.py:FUNCTION, code that runs only if it was typed."""
    return re.fullmatch(r".+\.py:[^\W\d]\w*", label_from) is not None


def recall(config: DataConfig, record: Path) -> DataConfig:
    """Return the data to load: by default what the run in `args.json` was trained on.

    Raises DataError if its labels came from a function, which must be typed again.
    """
    if config.data != "auto":
        return config
    kept: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(record.read_text())
    label_from = config.label_from or (kept.get("label_from") if isinstance(kept, dict) else None)
    if label_from and not config.label_from and is_function(str(label_from)):
        raise DataError(f"the run's labels come from a function; to run it, type: --label-from {label_from}")
    with suppress(ValueError, TypeError):
        found = {each.name: kept[each.name] for each in fields(DataConfig) if each.name in kept}
        images = Path(found["images"]) if found.get("images") else None
        kept_range = tuple(found["range"]) if found.get("range") else None
        return replace(config, **{**found, "images": images, "range": kept_range, "label_from": label_from})
    return config
