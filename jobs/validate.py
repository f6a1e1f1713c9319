"""Measure a model on labelled images: `python -m jobs.validate outputs --data photos/`.

A model of several labels is measured by mAP and F1, one of numbers by its errors. Without --data it is measured on its
run's own test images. A folder or table that is not divided is used as a whole, without the images that the model was
trained on, as far as its run recorded them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.data import MULTI, REGRESSION, SINGLE, THRESHOLD, DataConfig
from .config.recipe import add_options, pick
from .errors import DataError
from .program import Parser, check_file, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset
    from .tasks import Task

MOST_SHOWN = 40
COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC"}
LABEL_COLUMNS = {"precision": "precision", "recall": "recall", "f1": "F1", "ap": "AP", "auc": "AUC"}
"""Classes in the printed table, and confused pairs."""
MOST_WORST = 8
"""Images that are furthest off."""


@dataclass(frozen=True)
class Request:
    """What to measure, and what to write."""

    checkpoint: Path
    config: DataConfig
    against: Path | None = None
    out: Path | None = None
    json: bool = False
    tta: bool = False
    threshold: float | None = None


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return the figures; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.validate", description="Measure a model on labelled images.")
    parser.add_argument("checkpoint", type=Path, metavar="RUN", help="model file or run folder")
    add_options(parser, DataConfig())
    parser.add_argument("--against", type=Path, metavar="RUN", help="also compare with this model, image by image")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    parser.add_argument(
        "--threshold",
        type=number(float, 0, 1, above=True),
        metavar="P",
        help=f"of several labels, the least probability ({THRESHOLD})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures to a JSON file")
    asked = vars(parser.parse_args(argv))
    keep_memory()
    request = pick(Request, {**asked, "config": pick(DataConfig, asked)})
    return run_program("jobs.validate", lambda: run(request))


def run(request: Request) -> dict[str, Any]:
    """Measure, print and return the figures. Raises JobsError."""
    import contextlib
    import sys

    if request.out:
        check_file(request.out)
    with contextlib.redirect_stdout(sys.stderr if request.json else sys.stdout):
        data, chances, task = ask(request)
        figures = {SINGLE: measure, MULTI: measure_several, REGRESSION: measure_value}[task.name](
            data, chances, task, request
        )
        if request.against:
            figures["against"] = compare(request, data, chances)
    if request.json:
        say(json.dumps(figures, indent=2))
    else:
        {SINGLE: show, MULTI: show_several, REGRESSION: show_value}[task.name](figures)
    if request.out:
        request.out.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def ask(request: Request) -> "tuple[Dataset, Tensor, Task]":
    """Return labelled images, answers for the test part (N, classes), and the task. Raises DataError."""
    from .models.modelfile import load_model
    from .models.tested import load_tested
    from .predict import check_threshold
    from .training.evaluation import predict

    model, facts = load_model(request.checkpoint)
    if request.against and facts.task.name != SINGLE:
        raise DataError(f"--against compares accuracies, and this model's task is {facts.task.name}; measure each")
    check_threshold(request.threshold, facts.task.name)
    data = load_tested(request.checkpoint, facts, request.config, whole=request.config.data != "auto")
    return data, predict(model, data.test, request.tta), facts.task


def measure_several(data: "Dataset", chances: "Tensor", task: "Task", request: Request) -> dict[str, Any]:
    """Return the figures of several labels as plain values, and the images with the highest loss."""
    from .scores.labels import measure_labels

    truth = data.test.labels.cpu()
    least = request.threshold or THRESHOLD
    losses = -((chances * truth + (1 - chances) * (1 - truth)).clamp(min=1e-12).log()).mean(dim=1)
    said = (chances >= least).float()
    figures = measure_labels(chances, truth, data.classes, least)
    return {"data": data.name, "task": task.name, **figures, "worst": name_worst(data, said, losses, task)}


def measure_value(data: "Dataset", chances: "Tensor", task: "Task", request: Request) -> dict[str, Any]:  # noqa: ARG001
    """Return the figures of a number as plain values, and the images with the largest errors."""
    from .scores.numbers import measure_numbers

    truth = data.test.labels.cpu()
    figures = measure_numbers(chances[:, 0], truth[:, 0], task.centre)
    worst = name_worst(data, chances, (chances - truth).abs()[:, 0], task)
    return {"data": data.name, "task": task.name, "target": data.classes[0], **figures, "worst": worst}


def name_worst(data: "Dataset", said: "Tensor", losses: "Tensor", task: "Task") -> list[dict[str, str]]:
    """Return the images with the highest loss: the file, what is true and what was predicted."""
    return [
        {
            "file": data.test.names[at],
            "true": task.word(data.test.labels[at], data.classes),
            "predicted": task.word(said[at], data.classes),
        }
        for at in losses.argsort(descending=True, stable=True)[:MOST_WORST].tolist()
    ]


def measure(data: "Dataset", chances: "Tensor", task: "Task", request: Request) -> dict[str, Any]:  # noqa: ARG001
    """Return all figures as plain values: nan becomes None, as JSON has no word for it."""
    from .look.mistakes import calibration, most_confused, score_classes
    from .scores.intervals import wilson
    from .scores.ranking import class_areas, top_accuracy

    labels = data.test.labels.cpu()
    said = chances.argmax(dim=1)
    accuracy = wilson((said == labels).float().mean().item(), len(labels))
    areas = class_areas(chances, labels)
    scores = score_classes(labels, said, data.classes)
    tested = [score for score in scores if score.images]
    truth = chances.gather(1, labels[:, None]).clamp(min=1e-12)
    confused = most_confused(labels, said, data.classes, MOST_SHOWN)
    return {
        "data": data.name,
        "images": len(labels),
        "accuracy": accuracy.value,
        "interval": [accuracy.low, accuracy.high],
        "top5": top_accuracy(chances, labels, 5) if len(data.classes) > 5 else None,
        "f1": sum(score.f1 for score in tested) / len(tested),
        "auc": mean([area for area in areas if not math.isnan(area)]),
        "loss": -truth.log().mean().item(),
        "ece": calibration(chances, labels)[3],
        "classes": [
            {
                "class": score.name,
                "images": score.images,
                "precision": score.precision,
                "recall": score.recall if score.images else None,
                "f1": score.f1 if score.images else None,
                "auc": None if math.isnan(area) else area,
            }
            for score, area in zip(scores, areas, strict=True)
        ],
        "confused": [{"true": pair.truth, "predicted": pair.said, "images": pair.count} for pair in confused],
    }


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None of nothing."""
    return sum(values) / len(values) if values else None


def compare(request: Request, data: "Dataset", chances: "Tensor") -> dict[str, Any]:
    """Return how another model does on the same images. Raises DataError if its classes differ."""
    from .models.modelfile import load_model
    from .scores.intervals import mcnemar, paired_difference
    from .training.evaluation import predict

    other, facts = load_model(Path(str(request.against)))
    if facts.classes != data.classes or facts.shape[0] != data.test.shape[0]:
        raise DataError(f"--against {request.against}: has other classes or channels than {request.checkpoint}")
    theirs = predict(other, data.test.resize(facts.shape[1]), request.tta)
    labels = data.test.labels.cpu()
    before, after = ((each.argmax(dim=1) == labels).tolist() for each in (theirs, chances))
    gain = paired_difference(before, after)
    return {
        "run": str(request.against),
        "accuracy": mean(before),
        "gain": gain.value,
        "interval": [gain.low, gain.high],
        "p": mcnemar(before, after),
    }


def show_several(figures: dict[str, Any]) -> None:
    """Print the figures of several labels, then a table of them, then the worst images."""
    low, high = figures["exact_interval"]
    say(f"{figures['data']}: {figures['images']:,} images, {len(figures['classes'])} labels")
    say(f"mAP          {figures['mAP']:.1%}  (mean of labels; by guessing {figures['baseline_mAP']:.1%})")
    say(f"F1           {figures['f1']:.1%}  (mean of labels, from a probability of {figures['threshold']:g} on)")
    say(f"F1, micro    {figures['f1_micro']:.1%}  (all labels of all images together)")
    say(f"all right    {figures['exact']:.1%}  of images (95% interval {low:.1%} to {high:.1%})")
    say(f"loss         {figures['loss']:.4f}")
    show_table(figures, "label", LABEL_COLUMNS, "ap")
    show_worst(figures)


def show_value(figures: dict[str, Any]) -> None:
    """Print the figures of a number, then the worst images."""
    low, high = figures["interval"]
    say(f"{figures['data']}: {figures['images']:,} images, {figures['target']}")
    say(f"MAE          {figures['mae']:.4g}  (95% interval {low:.4g} to {high:.4g})")
    say(f"             {figures['baseline_mae']:.4g} by always predicting the mean of the training images")
    say(f"RMSE         {figures['rmse']:.4g}  (large errors weigh more)")
    say(f"median error {figures['median']:.4g}")
    say(f"bias         {figures['bias']:+.4g}  (mean of predicted minus true)")
    if figures["r2"] is not None:
        say(f"R2           {figures['r2']:.3f}  (share of the variance that is explained)")
    show_worst(figures)


def show_table(figures: dict[str, Any], what: str, columns: Mapping[str, str], by: str) -> None:
    """Print a line with these columns for each class or label, the lowest figure `by` first."""
    rows = sorted(figures["classes"], key=lambda row: row[by] if row[by] is not None else 2)[:MOST_SHOWN]
    width = max(len(what), *(len(row["class"]) for row in rows))
    heads = " ".join(f"{head:>7}" for head in columns.values())
    say(f"\n{what:<{width}}  {'images':>7} {heads}")
    for row in rows:
        cells = " ".join(f"{percent(row[name]):>{max(7, len(head))}}" for name, head in columns.items())
        say(f"{row['class']:<{width}}  {row['images']:>7,} {cells}")
    if hidden := len(figures["classes"]) - len(rows):
        say(f"({hidden:,} more with a higher {columns[by]}; --json shows all)")


def show_worst(figures: dict[str, Any]) -> None:
    """Print the images that are furthest off."""
    say("\nfurthest off:")
    for row in figures["worst"]:
        say(f"{row['file']}: {row['predicted']}, true {row['true']}")


def show(figures: dict[str, Any]) -> None:
    """Print the figures, then a table of the classes, then the confused pairs."""
    low, high = figures["interval"]
    say(f"{figures['data']}: {figures['images']:,} images")
    say(f"accuracy     {figures['accuracy']:.1%}  (95% interval {low:.1%} to {high:.1%})")
    if figures["top5"] is not None:
        say(f"top-5        {figures['top5']:.1%}")
    say(f"F1           {percent(figures['f1'])}  (mean of classes)")
    say(f"AUC          {percent(figures['auc'])}  (mean of classes, each against the others)")
    say(f"loss         {figures['loss']:.4f}")
    say(f"calibration  {figures['ece']:.3f}  (expected error of its confidence; 0 is best)")
    show_table(figures, "class", COLUMNS, "f1")
    if figures["confused"]:
        pairs = [f"{each['true']} as {each['predicted']} {each['images']}" for each in figures["confused"][:8]]
        say(f"\nmost confused: {', '.join(pairs)}")
    if against := figures.get("against"):
        low, high = against["interval"]
        say(
            f"\n{against['run']}: {against['accuracy']:.1%} on the same images; this one gains {against['gain']:+.1%} "
            f"(95% interval {low:+.1%} to {high:+.1%}, p = {against['p']:.3f})"
        )


def percent(value: float | None) -> str:
    """Return a share as a percentage; a dash if there is none."""
    return "-" if value is None else f"{value:.1%}"


if __name__ == "__main__":
    main()
