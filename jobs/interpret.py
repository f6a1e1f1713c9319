"""Look inside a model: `python -m jobs.interpret outputs` draws pictures and one report.html."""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config.data import DataConfig, recall
from .config.recipe import add_options, pick
from .program import Parser, keep_memory, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset
    from .look.report import Picture, Table
    from .models import Classifier

SHOWN = 6
"""Images that are looked at one by one."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the report; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.interpret", description="Draw what a model sees and what it gets wrong.")
    parser.add_argument("checkpoint", type=Path, help="a model file, or the folder of a run")
    add_options(parser, DataConfig())
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for report.html and its pictures (report/ beside the model)"
    )
    asked = parser.parse_args(argv)
    keep_memory()
    return run_program("jobs.interpret", lambda: run(asked.checkpoint, pick(DataConfig, vars(asked)), asked.out))


def run(checkpoint: Path, config: DataConfig, out: Path | None) -> Path:
    """Draw everything; return the report. Raises DataError if the images are not those the model tells apart."""
    from dataclasses import replace

    from .data import load
    from .errors import DataError
    from .look.report import write_report
    from .models.modelfile import find_model, load_model
    from .training.evaluation import predict

    model, facts = load_model(checkpoint)
    path = find_model(checkpoint)
    out = out or path.parent / "report"
    config = recall(config, path.parent / "args.json")
    data = load(replace(config, seed=facts.seed, size=facts.shape[1] if facts.shape[1] == facts.shape[2] else 0))
    if data.classes != facts.classes:
        raise DataError(
            f"{data.name} has other classes than the model was trained on ({facts.data}): name those by --data"
        )
    if data.test.shape[0] != facts.shape[0]:
        raise DataError(f"the model wants {facts.shape[0]} channels, {data.name} has {data.test.shape[0]}")
    out.mkdir(parents=True, exist_ok=True)
    chances = predict(model, data.test)
    accuracy = (chances.argmax(dim=1) == data.test.labels).float().mean().item()
    parts = [*curves(path, out), *mistakes(data, chances, out), *insides(model, data, out), *tables(path, model)]
    lead = f"of {len(data.test):,} test images of {data.name}, {len(data.classes)} classes"
    write_report(out / "report.html", f"{facts.model} on {facts.data}", accuracy, lead, parts)
    say(f"{accuracy:.4f} {lead}\n{out / 'report.html'}")
    return out / "report.html"


def curves(path: Path, out: Path) -> "list[Picture]":
    """Return the picture of loss and accuracy over epochs, where the run kept them."""
    from .look.plots import BLUE, ORANGE, figure
    from .look.report import Picture

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
    return [Picture("How it learned", "Loss and accuracy after each epoch.", out / "curves.png")]


def mistakes(data: "Dataset", chances: "Tensor", out: Path) -> "list[Picture | Table]":
    """Return what shows the errors."""
    from .look import mistakes as look
    from .look.report import Picture, Table

    matrix = look.confusion_matrix(chances, data.test.labels)
    parts: list[Picture | Table] = []
    if len(data.classes) <= look.MOST_CLASSES:
        look.draw_confusion(matrix, data.classes, out / "confusion.png")
        parts.append(Picture("What it takes for what", "A row for each true class.", out / "confusion.png"))
    pairs = [(pair.truth, pair.said, pair.count) for pair in look.most_confused(matrix, data.classes)]
    if pairs:
        parts.append(Table("Most confused", pairs, ("true", "said", "images")))
    look.draw_worst(data.test, chances, data.classes, out / "worst.png")
    parts.append(
        Picture("Its worst errors", "The highest losses; in brackets, the chance it gave the truth.", out / "worst.png")
    )
    look.draw_calibration(chances, data.test.labels, out / "calibration.png")
    caption = "On the dashed line it would be right as often as it is sure."
    return [*parts, Picture("How far it can be trusted", caption, out / "calibration.png")]


def insides(model: "Classifier", data: "Dataset", out: Path) -> "list[Picture]":
    """Return what shows the layers; nothing for a network without convolutions."""
    import torch

    from .look import inside as look
    from .look.mistakes import read
    from .look.report import Picture
    from .models.classifier import find_maps

    if not find_maps(model):
        return []
    # One image of each of some classes.
    firsts = [int((data.test.labels == at).nonzero()[0]) for at in data.test.labels.unique().tolist()[:SHOWN]]
    images = torch.stack([read(data.test, at) for at in firsts])
    labels = data.test.labels[torch.tensor(firsts)].cpu()
    look.draw_filters(model, out / "filters.png")
    look.draw_maps(model, images[0], out / "maps.png")
    look.draw_attention(model, images, [data.classes[at] for at in labels.tolist()], labels, out / "attention.png")
    seen = (
        "The image, where the last convolution speaks for its class (Grad-CAM), and what is lost where it is covered."
    )
    return [
        Picture("Where it looks", seen, out / "attention.png"),
        Picture("What it looks for", "The filters of the first convolution.", out / "filters.png"),
        Picture(
            "What its layers make of an image", "From the first to the last, strongest channels.", out / "maps.png"
        ),
    ]


def tables(path: Path, model: "Classifier") -> "list[Table]":
    """Return the model's table, its settings and, where there is one, the receipt of its job."""
    from .look.report import Table, find_receipt
    from .models import count_parameters

    layers = [
        (name, type(module).__name__, f"{sum(p.numel() for p in module.parameters(recurse=False)):,}")
        for name, module in model.net.named_modules()
        if list(module.parameters(recurse=False))
    ]
    found = [Table(f"The network, {count_parameters(model):,} parameters", layers, ("layer", "kind", "parameters"))]
    arguments = path.parent / "args.json"
    if arguments.is_file():
        kept = json.loads(arguments.read_text())
        found.append(Table("How it was made", [(n, v) for n, v in kept.items() if v not in (None, "", False, 0)]))
    if receipt := find_receipt(path):
        plain = [(n, v if isinstance(v, str | int | float) else json.dumps(v)[:300]) for n, v in receipt.items()]
        found.append(Table("The job's receipt", plain))
    return found


if __name__ == "__main__":
    main()
