"""The training and test images of a run: recorded next to the model, and kept apart from then on."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import DataError
from ..program import say
from .dataset import Dataset, Split
from .duplicates import find_duplicates

NAME = "split.csv"
SHOWN = 3


def separate(data: Dataset, dedupe: bool) -> Dataset:
    """Report the training images that are also in the test; leave them out if asked."""
    twice = find_duplicates(data.train, data.test) if len(data.train) else []
    if not twice:
        return data
    train, test = data.train, data.test
    other = sum(not torch.equal(train.labels[one], test.labels[two]) for one, two in twice)
    shown = ", ".join(f"{train.names[one]} = {test.names[two]}" for one, two in twice[:SHOWN])
    say(
        f"{data.name}: {len(twice):,} training images are also in the test"
        + (f", {other:,} of them labelled differently" if other else "")
        + f": {shown}{' ...' if len(twice) > SHOWN else ''}"
        + ("; left out of training" if dedupe else "; --dedupe leaves them out of training")
    )
    return replace(data, train=leave_out(train, {one for one, _ in twice})) if dedupe else data


def leave_out(split: Split, indices: Iterable[int]) -> Split:
    """Return a split without some of its images; use the old one no more."""
    kept = torch.ones(len(split), dtype=torch.bool)
    kept[list(indices)] = False
    return split.divide(kept)[0]


def write_parts(folder: Path, data: Dataset) -> None:
    """Record what was trained on, if the test images were held out of the same folder or CSV file."""
    if not data.held_out:
        return
    with (folder / NAME).open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        table = csv.writer(text)
        table.writerow(("part", "class", "unit"))
        for part, split in (("train", data.train), ("test", data.test)):
            table.writerows((part, *each) for each in sorted(set(name_images(data, split))))


def name_images(data: Dataset, split: Split) -> list[tuple[str, str]]:
    """Return the class, or the labels or number, and the unit of each image."""
    return [(data.task.word(label, data.classes), unit) for label, unit in zip(split.labels, split.units, strict=True)]


def drop_trained(data: Dataset, folder: Path) -> Dataset:
    """Return the data without test images that a run was trained on; raises DataError if none is left."""
    if not data.held_out or not (folder / NAME).is_file():
        return data
    parts: dict[str, set[tuple[str, str]]] = {"train": set(), "test": set()}
    with (folder / NAME).open(newline="", encoding="utf-8", errors="surrogateescape") as text:
        for row in csv.DictReader(text):
            parts.get(row.get("part", ""), set()).add((row.get("class", ""), row.get("unit", "")))
    units = {unit for _, unit in parts["train"]}  # an image that has another class by now
    seen = [
        at
        for at, image in enumerate(name_images(data, data.test))
        if image in parts["train"] or (image not in parts["test"] and image[1] in units)
    ]
    if len(seen) == len(data.test):
        raise DataError(f"{data.name}: the model was trained on all {len(seen):,} test images")
    if seen:
        say(f"{data.name}: {len(seen):,} test images left out, because the model was trained on them")
    return replace(data, test=leave_out(data.test, seen))
