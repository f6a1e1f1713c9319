"""Which data to load: one frozen value, and the options of the command line made from it. No torch."""

import json
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..program import number
from .recipe import knob

NAMED = ("fashion-mnist", "mnist", "digits", "cifar10", "imagenette", "pets", "pet-breeds")


@dataclass(frozen=True)
class DataConfig:
    """What to load and how to split it."""

    data: str = knob(
        "auto", f"{', '.join(NAMED)}, a folder with a folder for each class, or a CSV file", metavar="DATA"
    )
    images: Path | None = knob(None, "folder that the file names of a CSV file are relative to", Path)
    label: str | None = knob(None, "column of the CSV file with the class", metavar="COLUMN")
    file: str | None = knob(None, "column of the CSV file with the file name", metavar="COLUMN")
    group: str | None = knob(None, "column whose values are kept together, in training or test", metavar="COLUMN")
    holdout: float = knob(0.2, "share to test on, if the data has no test split", number(float, 0.01, 0.9))
    size: int = knob(0, "side of the images in pixels (their own if small, else 128)", number(int, 1, 2048))
    strict: bool = knob(False, "stop at a broken image instead of skipping it")
    stream: bool = knob(False, "decode while training, as is done with what has no room in memory")
    seed: int = 0


def recall(config: DataConfig, record: Path) -> DataConfig:
    """Return the data to load: if none was named, what the run of the record `args.json` was trained on."""
    if config.data != "auto":
        return config
    with suppress(OSError, ValueError, TypeError):
        kept = json.loads(record.read_text())
        found = {each.name: kept[each.name] for each in fields(DataConfig) if each.name in kept}
        images = Path(found["images"]) if found.get("images") else None
        return replace(config, **{**found, "images": images})
    return config
