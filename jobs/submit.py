"""Make a Kaggle submission: `python -m jobs.submit data/sample_submission.csv`.

Runs are named before the sample, by default `outputs`; of several, and of the folds of each, probabilities are averaged.
The images are in the folder named after it, by default the one next to it that has them all. Rows, separators and
numbers follow the sample. Its columns determine the values: with one column the class, or with --proba a probability;
with a column per class, their probabilities. A model of several labels fills one column with those of at least
--threshold, separated as in the sample; one of numbers fills it with the number.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from .config.data import MULTI, REGRESSION, SINGLE, THRESHOLD
from .errors import DataError
from .program import Parser, check_file, default_out, keep_memory, names_of, number, run_program, say


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the CSV file; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.submit", description="Create a Kaggle submission from a model's predictions.")
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="[RUN ...] SAMPLE [IMAGES]",
        help=f"runs or model files (default: {default_out()}), the competition's sample submission, and the folder with the "
        "images named in its first column (default: the one next to it that has them)",
    )
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help="CSV file (%(default)s)")
    parser.add_argument(
        "--proba", metavar="CLASS", help="write the probability of this class in the sample's one column"
    )
    parser.add_argument(
        "--threshold",
        type=number(float, 0, 1, above=True),
        metavar="P",
        help=f"of several labels, write those of at least this probability ({THRESHOLD})",
    )
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    asked = parser.parse_args(argv)
    keep_memory()

    def run() -> Path:
        runs, sample, images = read_paths(asked.paths)
        return write(runs, Submission(sample, images, asked.proba, asked.tta, asked.threshold), asked.out)

    return run_program("jobs.submit", run)


@dataclass(frozen=True)
class Submission:
    """The sample to fill in, and how."""

    sample: Path
    images: Path | None = None
    """The folder with its images; None for the one next to it that has them."""
    proba: str | None = None
    tta: bool = False
    threshold: float | None = None


def read_paths(paths: Sequence[Path]) -> tuple[list[Path], Path, Path | None]:
    """Return the runs, the sample and the folder of images that a command line names. Raises DataError."""
    from .images.layout import TABLES

    at = next((at for at, path in enumerate(paths) if path.suffix.lower() in TABLES), None)
    if at is None:
        raise DataError(f"{paths[-1]}: not a table; name the sample submission, such as sample_submission.csv")
    if len(paths) > at + 2:
        raise DataError(f"{paths[at + 2]}: unexpected after the folder of images; runs are named before {paths[at]}")
    return list(paths[:at]) or [default_out()], paths[at], next(iter(paths[at + 1 :]), None)


def write(runs: Sequence[Path], wanted: Submission, out: Path) -> Path:
    """Write the submission. Raises DataError if the sample does not fit, or images are missing."""
    from .images.table import decode, separator, split_rows
    from .predict import check_threshold, find_facts, predict_runs

    check_file(out)
    sample, text = wanted.sample, decode(wanted.sample)
    mark = separator(text)
    header, *rows = split_rows(sample, text, mark) or [[]]
    if len(header) < 2 or not rows:
        raise DataError(f"{sample}: expected a header and rows with image names in the first column")
    if odd := next((row for row in rows if len(row) != len(header)), None):
        raise DataError(f"{sample}: the row of {odd[0]} has {len(odd)} cells, the header {len(header)}")
    if len({row[0] for row in rows}) < len(rows):
        raise DataError(f"{sample}: contains duplicate images")
    files = find_files([row[0] for row in rows], wanted)
    facts, examples = find_facts(runs), [row[1] for row in rows]
    fill_in = {SINGLE: answer, MULTI: answer_labels, REGRESSION: answer_number}[facts.task.name]
    check_threshold(wanted.threshold, facts.task.name)
    fill_in(wanted, header[1:], examples, facts.classes, [])  # refused before an hour of predicting
    whole, chances = predict_runs(runs, files, wanted.tta)
    if len(whole) < len(files):
        raise DataError(f"{len(files) - len(whole)} of the sample's images could not be read; all are needed")
    answers = fill_in(wanted, header[1:], examples, facts.classes, chances.tolist())
    with out.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file, delimiter=mark, lineterminator="\n")
        table.writerow(header)
        table.writerows([row[0], *values] for row, values in zip(rows, answers, strict=True))
    say(f"{len(rows):,} rows in the order of {sample}\n{out}")
    return out


def find_files(names: Sequence[str], wanted: Submission) -> list[Path]:
    """Return the image of each name. Raises DataError if one is missing, or several folders fit."""
    sample = wanted.sample
    folders = [wanted.images] if wanted.images else list_folders(sample.parent)
    found = {folder: locate(names, folder) for folder in folders}
    whole = [folder for folder in folders if len(found[folder]) == len(names)]
    if len(whole) > 1:  # images to be classified may be called like those to train on
        whole = [folder for folder in whole if "test" in folder.name.lower()] or whole
    if len(whole) > 1:
        raise DataError(f"{sample}: its images may be those in {names_of(list(map(str, whole)))}; name one after it")
    if not whole:
        missing = names[max(map(len, found.values()))]
        where = wanted.images or f"{sample.parent} or its folders; name their folder after the sample"
        raise DataError(f"{sample}: no image '{missing}' in {where}")
    if not wanted.images:
        say(f"images in {whole[0]}")
    return found[whole[0]]


def locate(names: Sequence[str], place: Path) -> list[Path]:
    """Return the images of names in a folder, up to the first that is missing."""
    from itertools import takewhile

    from .images.labels import Folder

    folder = Folder(place)
    return [file for file in takewhile(lambda file: file is not None, map(folder.find, names)) if file]


def list_folders(top: Path) -> list[Path]:
    """Return a folder and those one or two levels below: Kaggle's archives have test/test/."""
    from .images.layout import subfolders

    within = subfolders(top)
    return [top, *within, *(path for folder in within for path in subfolders(folder))]


def answer(
    wanted: Submission,
    columns: Sequence[str],
    examples: Sequence[str],
    classes: Sequence[str],
    chances: Sequence[Sequence[float]],
) -> list[list[str]]:
    """Return the values for each row. Raises DataError if they do not match the model's classes."""
    if len(columns) > 1 or columns[0] in classes:
        return fill_columns(wanted, columns, classes, chances)
    values = {example.strip() for example in examples} - {""}
    if wanted.proba is None and any(map(is_fraction, values)) and not values <= set(classes):
        raise DataError(
            f"{wanted.sample}: '{columns[0]}' is a probability; of which class? --proba {quote(classes[-1])}, or another "
            f"of {names_of(classes)}"
        )
    if wanted.proba is not None:
        if wanted.proba not in classes:
            raise DataError(f"--proba {wanted.proba}: not a class of the model ({names_of(classes)})")
        at = classes.index(wanted.proba)
        return [[f"{row[at]:.6f}"] for row in chances]
    best = [classes[max(range(len(row)), key=row.__getitem__)] for row in chances]
    if all(value.removesuffix(".0").isdecimal() for value in values) and values:
        if strange := next((name for name in classes if not name.isdecimal()), None):
            raise DataError(
                f"{wanted.sample}: '{columns[0]}' is a number, but the model's classes are names: {strange}"
            )
        end = ".0" if all(value.endswith(".0") for value in values) else ""
        return [[f"{name}{end}"] for name in best]
    return [[name] for name in best]


def fill_columns(
    wanted: Submission, columns: Sequence[str], classes: Sequence[str], chances: Sequence[Sequence[float]]
) -> list[list[str]]:
    """Return the probabilities of the columns' classes. Raises DataError if they are not the model's."""
    missing = set(columns) - set(classes) if len(columns) == 1 else set(classes) ^ set(columns)
    if missing:
        raise DataError(f"{wanted.sample}: columns and the model's classes differ: {names_of(sorted(missing))}")
    order = [classes.index(column) for column in columns]
    return [[f"{row[at]:.6f}" for at in order] for row in chances]


def answer_labels(
    wanted: Submission,
    columns: Sequence[str],
    examples: Sequence[str],
    classes: Sequence[str],
    chances: Sequence[Sequence[float]],
) -> list[list[str]]:
    """Return the labels for each row, separated as in the sample, or by a space. Raises DataError."""
    if len(columns) > 1 or columns[0] in classes or wanted.proba is not None:
        return fill_columns(wanted, [wanted.proba] if wanted.proba else columns, classes, chances)
    from .images.table import find_separator

    mark = find_separator(examples) or " "
    if torn := next((name for name in classes if mark in name), None):
        raise DataError(f"{wanted.sample}: '{mark}' is between labels, and also in the label '{torn}'")
    least = wanted.threshold or THRESHOLD
    rows = [[name for name, chance in zip(classes, row, strict=True) if chance >= least] for row in chances]
    return [[mark.join(row)] for row in rows]


def answer_number(
    wanted: Submission,
    columns: Sequence[str],
    examples: Sequence[str],  # noqa: ARG001  the signature is answer's
    classes: Sequence[str],
    chances: Sequence[Sequence[float]],
) -> list[list[str]]:
    """Return the number for each row. Raises DataError for a sample of anything else."""
    if len(columns) > 1 or wanted.proba is not None:
        raise DataError(
            f"{wanted.sample}: the model predicts one number, {classes[0]}; the sample needs one column for it"
        )
    return [[f"{row[0]:.9g}"] for row in chances]


def is_fraction(value: str) -> bool:
    """Return whether a value is a probability rather than a number of a class: 0.5, but not 0.0 or 1."""
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False


if __name__ == "__main__":
    main()
