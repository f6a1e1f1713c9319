"""Make a Kaggle submission: `python -m jobs.submit outputs sample_submission.csv test/`.

Rows follow the sample. Its columns determine the values: with one column the class, or the probability of the second of
two classes if the sample contains a fraction; with a column per class, their probabilities.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import csv
from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .program import Parser, keep_memory, names_of, run_program, say


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the CSV file; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.submit", description="Create a Kaggle submission from a model's predictions.")
    parser.add_argument("checkpoint", type=Path, help="model file or run folder")
    parser.add_argument("sample", type=Path, help="sample submission of the competition")
    parser.add_argument("images", type=Path, help="folder with the images named in the sample's first column")
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help="CSV file (%(default)s)")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    asked = parser.parse_args(argv)
    keep_memory()
    return run_program("jobs.submit", lambda: write(asked.checkpoint, asked.sample, asked.images, asked.out, asked.tta))


def write(checkpoint: Path, sample: Path, images: Path, out: Path, tta: bool) -> Path:
    """Write the submission. Raises DataError if the sample does not fit the model, or images are missing."""
    from .images.listing import find_file
    from .predict import predict_files

    with sample.open(newline="", encoding="utf-8-sig") as text:
        header, *rows = [row for row in csv.reader(text) if row] or [[]]
    if len(header) < 2 or not rows:
        raise DataError(f"{sample}: expected a header and rows with image names in the first column")
    if len({row[0] for row in rows}) < len(rows):
        raise DataError(f"{sample}: contains duplicate images")
    files = [find_file(sample, images, row[0]) for row in rows]
    facts, whole, chances = predict_files(checkpoint, files, tta)
    if len(whole) < len(files):
        raise DataError(f"{len(files) - len(whole)} of the sample's images could not be read; all are needed")
    columns = answer(sample, header[1:], rows[0][1], facts.classes, chances.tolist())
    with out.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(header)
        table.writerows([row[0], *values] for row, values in zip(rows, columns, strict=True))
    say(f"{len(rows):,} rows in the order of {sample}\n{out}")
    return out


def answer(
    sample: Path, columns: Sequence[str], example: str, classes: Sequence[str], chances: Sequence[Sequence[float]]
) -> list[list[str]]:
    """Return the values for each row. Raises DataError if the columns are not the model's classes."""
    if len(columns) == 1 and columns[0] not in classes:
        if len(classes) == 2 and "." in example:
            return [[f"{row[1]:.6f}"] for row in chances]
        return [[classes[max(range(len(row)), key=row.__getitem__)]] for row in chances]
    if missing := set(classes) ^ set(columns):
        raise DataError(f"{sample}: columns and the model's classes differ: {names_of(sorted(missing))}")
    order = [classes.index(column) for column in columns]
    return [[f"{row[at]:.6f}" for at in order] for row in chances]


if __name__ == "__main__":
    main()
