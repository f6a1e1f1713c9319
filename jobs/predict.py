"""Predict the classes of images: `python -m jobs.predict outputs photos/ --out predictions.csv`."""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DataError
from .program import Parser, check_file, keep_memory, names_of, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .models import Classifier
    from .models.modelfile import Facts


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the CSV file; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.predict", description="Write a model's predictions for images to a CSV file.")
    parser.add_argument("checkpoint", type=Path, help="model file or run folder")
    parser.add_argument("images", type=Path, nargs="+", help="image files or folders")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="CSV file (%(default)s)")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    asked = parser.parse_args(argv)
    keep_memory()
    return run_program("jobs.predict", lambda: write(asked.checkpoint, asked.images, asked.out, asked.tta))


def write(checkpoint: Path, paths: Sequence[Path], out: Path, tta: bool) -> Path:
    """Write one row per image: file, class, its probability and all others; report broken images."""
    from .models.modelfile import load_model

    check_file(out)
    files = [file for path in paths for file in expand(path)]
    model, facts = load_model(checkpoint)
    whole, chances = predict_files(model, facts, files, tta)
    with out.open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        table = csv.writer(text)
        table.writerow(["file", "class", "probability", *facts.classes])
        for file, row in zip(whole, chances.tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            table.writerow([file, facts.classes[best], f"{row[best]:.6f}", *(f"{chance:.6f}" for chance in row)])
    say(f"{len(whole):,} images\n{out}")
    return out


def expand(path: Path) -> list[Path]:
    """Return the images in a folder, or the file itself; raises DataError."""
    from .images.listing import find_images

    if path.is_dir() and (found := find_images(path)):
        return found
    if not path.is_file():
        raise DataError(f"{path}: not an image, nor a folder with images")
    return [path]


def predict_files(model: "Classifier", facts: "Facts", files: Sequence[Path], tta: bool) -> "tuple[list[Path], Tensor]":
    """Return the readable files, and their probabilities (N, classes)."""
    import torch

    from .data import Split
    from .images.decoding import BrokenImageError, Files
    from .training.evaluation import predict

    source = Files(tuple(files), facts.shape[1], facts.shape[0], levels=facts.levels)
    whole: list[Path] = []
    found: list[Tensor] = []
    for start in range(0, len(files), 256):
        pixels = []
        for at in range(start, min(start + 256, len(files))):
            try:
                pixels.append(source.read(at))
                whole.append(files[at])
            except BrokenImageError as error:
                say(f"skipped: {error}")
        if pixels:
            found.append(predict(model, Split(torch.stack(pixels), torch.empty(0, dtype=torch.int64)), tta))
    if not found:
        raise DataError(f"could not read any of {names_of(list(map(str, files)), 3)}")
    return whole, torch.cat(found)


if __name__ == "__main__":
    main()
