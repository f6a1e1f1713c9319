"""Which data a person asked for: one frozen value, with the options of the command line. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from .program import number
from .recipe import knob

NAMED = ("fashion-mnist", "mnist", "digits", "cifar10", "imagenette", "pets", "pet-breeds")


@dataclass(frozen=True)
class Wishes:
    """What to load and how to cut it."""

    data: str = knob(
        "auto", f"{', '.join(NAMED)}, a folder with a folder for each class, or a CSV file", metavar="DATA"
    )
    images: Path | None = knob(None, "folder that the file names of a CSV file are relative to", Path)
    label: str | None = knob(None, "column of the CSV file with the class", metavar="COLUMN")
    file: str | None = knob(None, "column of the CSV file with the file name", metavar="COLUMN")
    group: str | None = knob(None, "column whose values are never split between training and test", metavar="COLUMN")
    holdout: float = knob(0.2, "share to judge by, where the data has no test part", number(float, 0.01, 0.9))
    size: int = knob(0, "side of the images in pixels (their own if small, else 128)", number(int, 1, 2048))
    strict: bool = knob(False, "stop at a broken image instead of skipping it")
    stream: bool = knob(False, "decode while training, as is done with what has no room in memory")
    seed: int = 0
