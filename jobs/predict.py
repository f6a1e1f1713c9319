"""Predict the classes of images: `python -m jobs.predict cat.jpg` prints `cat 99.8%`.

The model is that of the run given first, by default `outputs`. Images are files, folders, http(s) addresses, or - for
one on standard input.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import contextlib
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import Request, urlopen

from .errors import DataError
from .program import Parser, check_file, default_out, keep_memory, names_of, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .models import Classifier
    from .models.modelfile import Facts

STDIN = "-"
MOST_BYTES = 50_000_000
"""Of an image from an address or standard input."""
TIMEOUT_S = 20


@dataclass(frozen=True)
class Predictions:
    """The images that could be read, as they were named, and their probabilities."""

    images: tuple[str, ...]
    classes: tuple[str, ...]
    chances: "Tensor"
    """(N, classes)"""

    def rank(self, at: int, most: int) -> list[tuple[str, float]]:
        """Return the most probable classes of an image with their probabilities."""
        top = self.chances[at].topk(min(most, len(self.classes)))
        return [
            (self.classes[index], chance)
            for index, chance in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]


def main(argv: Sequence[str] | None = None) -> Predictions:
    """Run the program and return the predictions; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.predict", description="Predict the classes of images.")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[RUN] IMAGE",
        help=f"a run or model file (default: {default_out()}), then images: files, folders, http(s) addresses, - for stdin",
    )
    parser.add_argument(
        "--top", type=number(int, 1), default=1, metavar="N", help="classes for each image (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write a CSV file with all probabilities")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    asked = parser.parse_args(argv)
    keep_memory()

    def run() -> Predictions:
        if asked.out:
            check_file(asked.out)
        with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
            found = predict_all(asked.paths, asked.tta)
        show_json(found, asked.top) if asked.json else show(found, asked.top)
        if asked.out:
            write(found, asked.out)
        return found

    return run_program("jobs.predict", run)


def predict_all(words: Sequence[str], tta: bool) -> Predictions:
    """Return the predictions for images, by the model named first or the default run's. Raises JobsError."""
    from .models.modelfile import is_model

    first = is_model(Path(words[0]))
    checkpoint, images = (Path(words[0]), words[1:]) if first else (default_out(), words)
    if not images:
        raise DataError(f"{checkpoint}: no images to classify; name some after the model")
    facts = find_facts([checkpoint])
    with tempfile.TemporaryDirectory(prefix="jobs-predict-") as folder:
        files = {file: name for word in images for file, name in find_files(word, Path(folder))}
        whole, chances = predict_runs([checkpoint], list(files), tta)
        return Predictions(tuple(files[file] for file in whole), facts.classes, chances)


def find_files(word: str, folder: Path) -> list[tuple[Path, str]]:
    """Return the files that a word names; what is fetched goes to `folder`. Raises DataError."""
    if word == STDIN:
        return [(keep(sys.stdin.buffer.read(MOST_BYTES + 1), folder, "standard input"), STDIN)]
    if word.startswith(("http://", "https://")):
        return [(download(word, folder), word)]
    return [(path, str(path)) for path in expand(Path(word))]


def download(address: str, folder: Path) -> Path:
    """Download an image; raises DataError."""
    request = Request(address, headers={"User-Agent": "jobs.predict"})  # noqa: S310  find_files checked the scheme
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return keep(answer.read(MOST_BYTES + 1), folder, address)
    except (URLError, OSError, ValueError) as error:
        raise DataError(f"{address}: {getattr(error, 'reason', '') or error}") from error


def keep(content: bytes, folder: Path, name: str) -> Path:
    """Write what was fetched to a new file; raises DataError if it is too large or empty."""
    if not content or len(content) > MOST_BYTES:
        raise DataError(f"{name}: {'no image' if not content else f'more than {MOST_BYTES // 1_000_000} MB'}")
    path = folder / str(len(list(folder.iterdir())))
    path.write_bytes(content)
    return path


def show(found: Predictions, top: int) -> None:
    """Print one line per image; its name leads if there are several."""
    width = max(map(len, found.images))
    for at, name in enumerate(found.images):
        ranked = "  ".join(f"{label} {chance:.1%}" for label, chance in found.rank(at, top))
        say(ranked if len(found.images) == 1 else f"{name:<{width}}  {ranked}")


def show_json(found: Predictions, top: int) -> None:
    """Print a list with an object per image."""
    rows = []
    for at, name in enumerate(found.images):
        ranked = [{"class": label, "probability": round(chance, 6)} for label, chance in found.rank(at, top)]
        rows.append({"file": name, **ranked[0], "top": ranked})
    say(json.dumps(rows, indent=2))


def write(found: Predictions, out: Path) -> None:
    """Write one row per image: file, class, its probability and all others."""
    with out.open("w", newline="", encoding="utf-8", errors="surrogateescape") as text:
        table = csv.writer(text)
        table.writerow(["file", "class", "probability", *found.classes])
        for at, name in enumerate(found.images):
            ((label, chance),) = found.rank(at, 1)
            table.writerow([name, label, f"{chance:.6f}", *(f"{each:.6f}" for each in found.chances[at].tolist())])
    sys.stderr.write(f"{len(found.images):,} images: {out}\n")


def expand(path: Path) -> list[Path]:
    """Return the images in a folder, or the file itself; raises DataError."""
    from .images.listing import find_images

    if path.is_dir() and (found := find_images(path)):
        return found
    if not path.is_file():
        raise DataError(f"{path}: not an image, nor a folder with images")
    return [path]


def find_facts(runs: Sequence[Path]) -> "Facts":
    """Return the first model's facts, whose classes those of all runs have. Raises JobsError."""
    from .models.modelfile import find_models, load_model

    known = {path: load_model(path)[1] for run in runs for path in find_models(run)}
    first, *others = known
    for path in others:
        if strange := sorted({*known[first].classes} ^ {*known[path].classes}):
            raise DataError(f"{path}: has other classes than {first}: {names_of(strange)}")
    return known[first]


def predict_runs(runs: Sequence[Path], files: Sequence[Path], tta: bool) -> "tuple[list[Path], Tensor]":
    """Return the readable files, and the mean of what runs say about them (N, classes).

    Each run counts once, however many folds it has. Raises JobsError.
    """
    import torch

    from .models.modelfile import find_models, load_model

    whole, means = list(files), []
    for run in runs:
        found = []
        for path in find_models(run):
            whole, chances = predict_files(*load_model(path), whole, tta)
            found.append(chances)
        means.append(torch.stack(found).mean(dim=0))
    return whole, torch.stack(means).mean(dim=0)


def predict_files(model: "Classifier", facts: "Facts", files: Sequence[Path], tta: bool) -> "tuple[list[Path], Tensor]":
    """Return the readable files, and their probabilities (N, classes)."""
    import torch

    from .data import Split
    from .images.decoding import BrokenImageError, Files
    from .training.evaluation import predict

    source = Files(tuple(files), facts.shape[1], facts.shape[0], levels=facts.levels, square=facts.square)
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
