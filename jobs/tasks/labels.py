"""Labels as read, and as class indices (N,), labels of 0 and 1 (N, C), or numbers (N, 1)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..config.data import MULTI, REGRESSION, SINGLE
from ..errors import DataError
from ..images.listing import MARK, Listing, split_labels
from ..program import count_of, names_of, say


def name_classes(listing: Listing, task: str) -> tuple[str, ...]:
    """Return the names of the classes, the labels, or the number. Raises DataError for too few."""
    if task == REGRESSION:
        return (listing.target or "value",)
    classes = listing.classes
    if task == SINGLE and len(classes) < 2:
        raise DataError(f"{listing.name}: only one class ({names_of(classes)}); at least two are needed")
    if task == MULTI and not all(label.startswith(MARK) for label in listing.labels):
        raise DataError(f"{listing.name}: has one class for each image; --multi-label is for a CSV file of labels")
    if not classes:
        raise DataError(f"{listing.name}: no image has a label")
    return classes


def check_labels(train: Listing, test: Listing | None, classes: tuple[str, ...], known: bool, task: str) -> None:
    """Raise DataError for classes other than `classes`, a model's if `known`; report what is odd."""
    if task == REGRESSION:
        return
    for listing in (train, test):
        if listing and (strange := sorted(set(listing.classes) - set(classes))):
            where = "the model" if known else train.name
            raise DataError(f"{listing.name}: {where} does not have these classes: {names_of(strange)}")
    if task == SINGLE and len(set(train.labels)) == len(train.labels) > 2 and not test:
        raise DataError(
            f"{train.name}: each image has a class of its own ({names_of(train.labels, 3)}); in a CSV file, --label chooses "
            "the column with the classes"
        )
    alike = {name.casefold(): name for name in classes}
    if twice := [name for name in classes if alike[name.casefold()] != name]:
        say(f"{train.name}: different classes, though only capitals differ: {twice[0]}, {alike[twice[0].casefold()]}")
    present = {*train.classes, *(test.classes if test else ())}
    if absent := [name for name in classes if name not in present]:
        say(f"{train.name}: {count_of(len(absent), 'class', 'classes')} without images: {names_of(absent)}")


def report_missing(name: str, labels: Tensor, classes: tuple[str, ...], task: str) -> None:
    """Name the labels that no training image has: several labels of an image are not divided evenly."""
    if task == MULTI and len(labels) and (absent := [classes[at] for at in (~labels.any(dim=0)).nonzero().flatten()]):
        say(
            f"{name}: {count_of(len(absent), 'label')} without training images, which will not be learned: {names_of(absent)}"
        )


def encode(listings: Sequence[Listing], classes: tuple[str, ...], task: str) -> Tensor:
    """Return the labels of all images as numbers. Raises DataError for a number that is none."""
    if task == REGRESSION:
        return torch.tensor(
            [[read_number(*each)] for part in listings for each in zip(part.files, part.labels, strict=True)]
        )
    places = {name: at for at, name in enumerate(classes)}
    labels = [label for part in listings for label in part.labels]
    if task == SINGLE:
        return torch.tensor([places[label] for label in labels])
    found = torch.zeros(len(labels), len(classes))
    for at, label in enumerate(labels):
        found[at, [places[name] for name in split_labels(label)]] = 1
    return found


def read_number(file: object, label: str) -> float:
    """Return the number of an image. Raises DataError if there is none."""
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}: '{label}' is not a number, which --regression needs")
    return value
