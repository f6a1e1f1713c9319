"""The sections of a report on a model: training curves, errors, metrics, layers."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ..data import Dataset
from ..models import Classifier, count_parameters
from ..models.classifier import find_maps
from ..program import count_of
from . import inside, mistakes
from .layers import trace, write_shape
from .plots import BLUE, ORANGE, draw_epochs
from .report import MOST_ROWS, Gallery, Matrix, Part, Picture, Row, Table

SHOWN = 6
"""Images shown with Grad-CAM and occlusion."""
MOST_CLASSES = 40
"""In a confusion matrix, where more are unreadable."""


def show_curves(path: Path, out: Path) -> list[Part]:
    """Return plots of loss and accuracy over epochs, if the run logged them."""
    log = path.parent / "metrics.jsonl"
    epochs = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if not epochs:
        return []
    numbers = [epoch["epoch"] for epoch in epochs]
    loss, accuracy = out / "loss.svg", out / "accuracy.svg"
    draw_epochs(loss, numbers, [epoch["train_loss"] for epoch in epochs], "training loss", ORANGE)
    draw_epochs(accuracy, numbers, [epoch["accuracy"] for epoch in epochs], "accuracy", BLUE)
    return [Picture("Training curves", "Loss and accuracy after each epoch.", (loss, accuracy))]


def show_mistakes(data: Dataset, chances: Tensor, out: Path) -> list[Part]:
    """Return confusion matrix, metrics per class, worst errors and calibration."""
    labels, said = data.test.labels.cpu(), chances.argmax(dim=1)
    pairs = [(pair.truth, pair.said, pair.count) for pair in mistakes.most_confused(labels, said, data.classes)]
    parts: list[Part] = [show_confusion(labels, said, data.classes)]
    if pairs:
        parts.append(Table("Most confused", pairs, ("true", "predicted", "images")))
    parts += [show_scores(labels, said, data.classes), show_errors(data, chances)]
    error = mistakes.draw_calibration(chances, labels, out / "calibration.svg")
    caption = f"Accuracy equals confidence on the dashed line. Expected calibration error: {error:.3f}."
    return [*parts, Picture("Calibration", caption, (out / "calibration.svg",))]


def show_confusion(labels: Tensor, said: Tensor, classes: tuple[str, ...]) -> Matrix:
    """Return the confusion matrix of all classes or, if there are many, of those with the most errors."""
    shown = mistakes.hardest_classes(labels, said, len(classes), MOST_CLASSES)
    counts = mistakes.confusion_matrix(labels, said, len(classes), shown)
    caption = "True classes in rows, predicted classes in columns; shaded by the share of each true class."
    if len(classes) == len(shown):
        return Matrix("Confusion matrix", caption, classes, classes, counts[:, :-1].tolist())
    rows = tuple(classes[at] for at in shown.tolist())
    caption = f"The {len(shown)} classes with the most errors, of {len(classes):,}. {caption}"
    return Matrix("Confusion matrix", caption, rows, (*rows, "all other classes"), counts.tolist())


def show_scores(labels: Tensor, said: Tensor, classes: tuple[str, ...]) -> Table:
    """Return precision, recall and F1 of each class, and the means of those that have test images."""
    scores = mistakes.score_classes(labels, said, classes)
    tested = [each for each in scores if each.images]
    captions = []
    if len(tested) > MOST_ROWS:
        tested.sort(key=lambda each: each.f1)
        captions.append("Classes with the lowest F1 first.")
    if len(tested) < len(scores):
        captions.append(
            f"{count_of(len(scores) - len(tested), 'class', 'classes')} without test images, not in the means."
        )
    shown = [
        (each.name, f"{each.precision:.1%}", f"{each.recall:.1%}", f"{each.f1:.1%}", each.images) for each in tested
    ]
    shown += [(each.name, "-", "-", "-", 0) for each in scores if not each.images]
    means = [sum(values) / len(tested) for values in zip(*((s.precision, s.recall, s.f1) for s in tested), strict=True)]
    mean = ("mean of classes", *(f"{value:.1%}" for value in means), len(labels))
    return Table(
        "Metrics per class", shown, ("class", "precision", "recall", "F1", "images"), " ".join(captions), foot=mean
    )


def show_errors(data: Dataset, chances: Tensor) -> Gallery:
    """Return the misclassified images with the highest loss."""
    tiles = mistakes.show_worst(data.test, chances, data.classes)
    wrong = int((chances.argmax(dim=1) != data.test.labels).sum())
    if not tiles:
        return Gallery("Worst errors", "No test image is misclassified.", ())
    count = f"{wrong:,} of {len(data.test):,} test images are misclassified"
    caption = f"{count}; these have the highest loss. In brackets: the probability of each class."
    return Gallery("Worst errors", caption, (Row("", tiles),))


def show_layers(model: Classifier, data: Dataset) -> list[Part]:
    """Return Grad-CAM, filters and feature maps; empty for a network without convolutions."""
    if not find_maps(model):
        return []
    # One image of each of some classes.
    firsts = [int((data.test.labels == at).nonzero()[0]) for at in data.test.labels.unique().tolist()[:SHOWN]]
    images = torch.stack([mistakes.read(data.test, at) for at in firsts])
    labels = data.test.labels[torch.tensor(firsts)].cpu()
    with torch.no_grad():
        chances = model(images.to(model.mean.device)).float().softmax(dim=1).cpu()
    titles = [
        f"{mistakes.brief(data.classes[at])}; predicted {mistakes.brief(data.classes[int(row.argmax())])} {row.max():.0%}"
        for at, row in zip(labels.tolist(), chances, strict=True)
    ]
    attention = inside.show_attention(model, images, titles, labels)
    caption = (
        "Grad-CAM: bright regions support the true class. Occlusion: covering red regions lowers its probability, "
        "covering blue ones raises it."
    )
    return [
        Gallery("Grad-CAM", caption, attention),
        Gallery("First-layer filters", "Weights of the first convolution.", (inside.show_filters(model),), small=True),
        Gallery("Feature maps", "Strongest channels per layer.", inside.show_maps(model, images[0]), small=True),
    ]


def show_network(model: Classifier, shape: tuple[int, int, int]) -> Table:
    """Return the layers that have parameters, as an image passes them, with their outputs."""
    layers = [
        (layer.name, type(layer.module).__name__, write_shape(layer.shape), f"{layer.parameters:,}")
        for layer in trace(model, shape)
        if layer.parameters
    ]
    caption = f"{count_parameters(model):,} parameters; one image is {write_shape(shape)}."
    return Table("Network", layers, ("layer", "type", "output", "parameters"), caption)
