"""Measure a model on labelled images: `python -m jobs.validate outputs --data photos/`.

Without --data it is measured on its run's own test images. A folder or table that is not divided is used as a whole,
without the images that the model was trained on, as far as its run recorded them.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.data import DataConfig
from .config.recipe import add_options, pick
from .errors import DataError
from .program import Parser, check_file, keep_memory, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset

MOST_SHOWN = 40
"""Classes in the printed table, and confused pairs."""


@dataclass(frozen=True)
class Request:
    """What to measure, and what to write."""

    checkpoint: Path
    config: DataConfig
    against: Path | None = None
    out: Path | None = None
    json: bool = False
    tta: bool = False


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return the figures; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.validate", description="Measure a model on labelled images.")
    parser.add_argument("checkpoint", type=Path, metavar="RUN", help="model file or run folder")
    add_options(parser, DataConfig())
    parser.add_argument("--against", type=Path, metavar="RUN", help="also compare with this model, image by image")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
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
        data, chances = ask(request)
        figures = measure(data, chances)
        if request.against:
            figures["against"] = compare(request, data, chances)
    if request.json:
        say(json.dumps(figures, indent=2))
    else:
        show(figures)
    if request.out:
        request.out.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def ask(request: Request) -> "tuple[Dataset, Tensor]":
    """Return the labelled images and the model's probabilities for the test part (N, classes)."""
    from .models.modelfile import load_model
    from .models.tested import load_tested
    from .training.evaluation import predict

    model, facts = load_model(request.checkpoint)
    data = load_tested(request.checkpoint, facts, request.config, whole=request.config.data != "auto")
    return data, predict(model, data.test, request.tta)


def measure(data: "Dataset", chances: "Tensor") -> dict[str, Any]:
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
    rows = sorted(figures["classes"], key=lambda row: row["f1"] if row["f1"] is not None else 2)[:MOST_SHOWN]
    width = max(len("class"), *(len(row["class"]) for row in rows))
    say(f"\n{'class':<{width}}  {'images':>7} {'precision':>9} {'recall':>7} {'F1':>7} {'AUC':>7}")
    for row in rows:
        cells = [percent(row[name]) for name in ("precision", "recall", "f1", "auc")]
        say(f"{row['class']:<{width}}  {row['images']:>7,} {cells[0]:>9} {cells[1]:>7} {cells[2]:>7} {cells[3]:>7}")
    if hidden := len(figures["classes"]) - len(rows):
        say(f"({hidden:,} more with a higher F1; --json shows all)")
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
