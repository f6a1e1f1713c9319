"""Clean a data set with what a model finds odd: `python -m jobs.clean outputs`, then `--apply`.

It writes a page of the images with the highest loss and of those that the model says are of another class, and a CSV
file next to it. Fill in its column `action`: `delete`, the class that an image really has, or nothing. `--apply` then
moves the files: to another class folder, or out of the data set into DATA-removed. Nothing is ever deleted.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config.data import DataConfig
from .config.recipe import add_options, pick
from .errors import DataError
from .program import Parser, check_folder, count_of, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset
    from .look.report import Row

COLUMNS = ("file", "class", "predicted", "probability", "loss", "part", "action")


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the CSV file; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.clean", description="Find images with a wrong label or of no use, and move them.")
    parser.add_argument("checkpoint", type=Path, metavar="RUN", help="model file or run folder")
    add_options(parser, DataConfig())
    parser.add_argument("--most", type=number(int, 1), default=60, metavar="N", help="images to look at (%(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the page (default: clean/ next to the model)"
    )
    parser.add_argument("--apply", action="store_true", help="move the files as the CSV file's column 'action' says")
    parser.add_argument("--yes", action="store_true", help="with --apply: do not ask")
    asked = parser.parse_args(argv)
    keep_memory()

    def run() -> Path:
        from .models.modelfile import find_model
        from .moves import apply_actions

        folder: Path = asked.out or find_model(asked.checkpoint).parent / "clean"
        if asked.apply:
            apply_actions(folder / "clean.csv", asked.yes)
        else:
            check_folder(folder)
            list_odd(asked.checkpoint, pick(DataConfig, vars(asked)), folder, int(asked.most))
        return folder / "clean.csv"

    return run_program("jobs.clean", run)


def list_odd(checkpoint: Path, config: DataConfig, folder: Path, most: int) -> None:
    """Write the page and the CSV file, highest loss first. Raises DataError if the images are not files."""
    import torch

    from .models.modelfile import load_model
    from .models.tested import load_tested, need_classes
    from .training.evaluation import predict

    if (folder / "clean.csv").exists() and has_actions(folder / "clean.csv"):
        raise DataError(f"{folder / 'clean.csv'}: has actions; apply them with --apply, or choose another --out")
    model, facts = load_model(checkpoint)
    need_classes(facts, "jobs.clean")
    data = load_tested(checkpoint, facts, config)
    if not data.test.names:
        raise DataError(f"{data.name}: has no image files to move; jobs.clean is for folders and CSV files")
    parts = {"train": data.train, "test": data.test}
    chances = torch.cat([predict(model, part) for part in parts.values()])
    labels = torch.cat([part.labels.cpu() for part in parts.values()])
    loss = -chances.gather(1, labels[:, None]).flatten().clamp(min=1e-12).log()
    worst = loss.argsort(descending=True, stable=True)[:most]
    places = [(name, at) for name, part in parts.items() for at in range(len(part))]
    chosen = [places[at] for at in worst.tolist()]
    rows = [
        [
            str(Path(parts[name].names[at]).resolve()),
            data.classes[int(labels[where])],
            data.classes[int(chances[where].argmax())],
            f"{chances[where].max():.4f}",
            f"{loss[where]:.4f}",
            name,
            "",
        ]
        for (name, at), where in zip(chosen, worst.tolist(), strict=True)
    ]
    with (folder / "clean.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        csv.writer(text).writerows([COLUMNS, *rows])
    wrong = sum(row[1] != row[2] for row in rows)
    disagree = int((chances.argmax(dim=1) != labels).sum())
    write_page(folder / "clean.html", data, (disagree, labels), show_rows(data, chosen, rows))
    say(
        f"{count_of(len(rows), 'image')}, {wrong:,} of them of another class, says the model\n{folder / 'clean.html'}\n"
        f"fill in the column 'action' of {folder / 'clean.csv'} (delete, or a class), then add --apply"
    )


def has_actions(path: Path) -> bool:
    """Return whether someone filled in an action."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as text:
        return any((row.get("action") or "").strip() for row in csv.DictReader(text))


def show_rows(data: "Dataset", chosen: Sequence[tuple[str, int]], rows: Sequence[Sequence[str]]) -> "list[Row]":
    """Return the pictures: those where the model disagrees with the label, then the others."""
    from .look.inside import picture
    from .look.mistakes import brief, read
    from .look.report import Row, Tile

    groups: dict[str, list[Tile]] = {"The model says another class": [], "Right, but unsure": []}
    for (part, at), (file, label, said, chance, *_) in zip(chosen, rows, strict=True):
        lines = (f"labelled {brief(label)}", f"predicted {brief(said)} ({float(chance):.0%})", Path(file).name)
        tile = Tile(picture(read(data.train if part == "train" else data.test, at)), lines)
        groups["Right, but unsure" if label == said else "The model says another class"].append(tile)
    return [Row(name, tuple(tiles)) for name, tiles in groups.items() if tiles]


def write_page(path: Path, data: "Dataset", counts: "tuple[int, Tensor]", rows: "list[Row]") -> None:
    """Write the page of pictures."""
    from .look.report import Gallery, write_report

    disagree, labels = counts
    lead = (
        f"of {len(labels):,} labels agree with the model; the others are mistakes of one or the other. Images that it "
        "was trained on are among them: it may have learned their wrong labels by heart"
    )
    caption = "Highest loss first. The CSV file of this folder has a row for each, in the same order."
    write_report(path, f"Labels of {data.name}", 1 - disagree / len(labels), lead, [Gallery("Images", caption, rows)])


if __name__ == "__main__":
    main()
