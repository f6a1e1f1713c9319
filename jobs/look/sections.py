"""The sections of a report on a model: training curves, errors, layers, settings."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ..data import Dataset
from ..models import Classifier, count_parameters
from ..models.classifier import find_maps
from . import inside, mistakes
from .plots import BLUE, ORANGE, figure
from .report import Picture, Table, find_receipt

SHOWN = 6
"""Images that are looked at one by one."""


def show_curves(path: Path, out: Path) -> list[Picture]:
    """Return the picture of loss and accuracy over epochs, if the run kept them."""
    log = path.parent / "metrics.jsonl"
    epochs = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if not epochs:
        return []
    numbers = [epoch["epoch"] for epoch in epochs]
    with figure(out / "curves.png", 1, 2, (7.2, 3.0)) as (left, right):
        left.plot(numbers, [epoch["train_loss"] for epoch in epochs], "o-", color=ORANGE)
        left.set_ylabel("training loss")
        right.plot(numbers, [epoch["accuracy"] for epoch in epochs], "o-", color=BLUE)
        right.set_ylabel("accuracy")
        for axis in (left, right):
            axis.set_xlabel("epoch")
            axis.set_xlim(0.5, len(epochs) + 0.5)
            axis.locator_params(axis="x", integer=True)
            axis.grid(alpha=0.3)
    return [Picture("Training curves", "Loss and accuracy after each epoch.", out / "curves.png")]


def show_mistakes(data: Dataset, chances: Tensor, out: Path) -> list[Picture | Table]:
    """Return confusion matrix, worst errors and calibration."""
    matrix = mistakes.confusion_matrix(chances, data.test.labels)
    parts: list[Picture | Table] = []
    if len(data.classes) <= mistakes.MOST_CLASSES:
        mistakes.draw_confusion(matrix, data.classes, out / "confusion.png")
        parts.append(Picture("Confusion matrix", "A row for each true class.", out / "confusion.png"))
    pairs = [(pair.truth, pair.said, pair.count) for pair in mistakes.most_confused(matrix, data.classes)]
    if pairs:
        parts.append(Table("Most confused", pairs, ("true", "predicted", "images")))
    mistakes.draw_worst(data.test, chances, data.classes, out / "worst.png")
    caption = "The highest losses; in brackets, the probability of the true class."
    parts.append(Picture("Worst errors", caption, out / "worst.png"))
    mistakes.draw_calibration(chances, data.test.labels, out / "calibration.png")
    caption = "On the dashed line, accuracy equals confidence."
    return [*parts, Picture("Calibration", caption, out / "calibration.png")]


def show_layers(model: Classifier, data: Dataset, out: Path) -> list[Picture]:
    """Return Grad-CAM, filters and feature maps; nothing for a network without convolutions."""
    if not find_maps(model):
        return []
    # One image of each of some classes.
    firsts = [int((data.test.labels == at).nonzero()[0]) for at in data.test.labels.unique().tolist()[:SHOWN]]
    images = torch.stack([mistakes.read(data.test, at) for at in firsts])
    labels = data.test.labels[torch.tensor(firsts)].cpu()
    inside.draw_filters(model, out / "filters.png")
    inside.draw_maps(model, images[0], out / "maps.png")
    inside.draw_attention(model, images, [data.classes[at] for at in labels.tolist()], labels, out / "attention.png")
    caption = "The image, Grad-CAM of the last convolution, and how the probability falls where a patch is covered."
    return [
        Picture("Grad-CAM", caption, out / "attention.png"),
        Picture("First-layer filters", "The weights of the first convolution.", out / "filters.png"),
        Picture("Feature maps", "The strongest channels, from the first layer to the last.", out / "maps.png"),
    ]


def show_tables(path: Path, model: Classifier) -> list[Table]:
    """Return tables of the layers, the settings and, if there is one, the receipt of the job."""
    layers = [
        (name, type(module).__name__, f"{sum(p.numel() for p in module.parameters(recurse=False)):,}")
        for name, module in model.net.named_modules()
        if list(module.parameters(recurse=False))
    ]
    found = [Table(f"Network, {count_parameters(model):,} parameters", layers, ("layer", "kind", "parameters"))]
    arguments = path.parent / "args.json"
    if arguments.is_file():
        kept = json.loads(arguments.read_text())
        found.append(Table("Settings", [(n, v) for n, v in kept.items() if v not in (None, "", False, 0)]))
    if receipt := find_receipt(path):
        plain = [(n, v if isinstance(v, str | int | float) else json.dumps(v)[:300]) for n, v in receipt.items()]
        found.append(Table("Receipt", plain))
    return found
