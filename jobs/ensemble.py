"""Average the predictions of several models: `python -m jobs.ensemble RUN RUN...`.

All are measured on the same test images, which none of them was trained on. The folds of a cross-validation count as one
model: an image is classified by the network that has not seen it or, if the data have a test part of their own, by the
mean of all. `jobs.submit` and `jobs.predict` average in the same way.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.data import DataConfig
from .errors import DataError
from .program import Parser, check_file, keep_memory, names_of, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset
    from .scores.intervals import Interval


@dataclass(frozen=True)
class Member:
    """What a run says about its test images."""

    run: str
    data: str
    classes: tuple[str, ...]
    images: tuple[str, ...]
    """What identifies each image, sorted; empty if the images are no files, and so are in their order."""
    labels: "Tensor"
    chances: "Tensor"
    """(N, classes)"""

    @property
    def right(self) -> list[bool]:
        """Whether it is right on each image."""
        right: list[bool] = (self.chances.argmax(dim=1) == self.labels).tolist()
        return right

    @property
    def interval(self) -> "Interval":
        """Its accuracy."""
        from .scores.intervals import wilson

        return wilson(sum(self.right) / len(self.labels), len(self.labels))

    @property
    def loss(self) -> float:
        """Its mean log loss, which Kaggle often scores."""
        return -self.chances.gather(1, self.labels[:, None]).clamp(min=1e-12).log().mean().item()


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the program and return the figures; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.ensemble", description="Average the predictions of several models, and measure the result.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders or model files")
    parser.add_argument("--tta", action="store_true", help="average over each image and its mirror image")
    parser.add_argument("--label-from", metavar="FILE.py:NAME", help="the function that labelled the runs' images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the figures to a JSON file")
    asked = parser.parse_args(argv)
    keep_memory()

    def run() -> dict[str, Any]:
        if asked.out:
            check_file(asked.out)
        with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
            figures = measure(collect(asked.runs, DataConfig(label_from=asked.label_from), asked.tta))
        if asked.json:
            say(json.dumps(figures, indent=2))
        else:
            show(figures)
        if asked.out:
            asked.out.write_text(json.dumps(figures, indent=2) + "\n")
        return figures

    return run_program("jobs.ensemble", run)


def collect(runs: Sequence[Path], config: DataConfig, tta: bool) -> list[Member]:
    """Return what runs say about the same images, for a single run its folds. Raises JobsError."""
    from .models.modelfile import find_models

    places = [run.resolve() for run in runs]
    if twice := [str(run) for at, run in enumerate(runs) if places[at] in places[:at]]:
        raise DataError(f"{twice[0]}: is named twice")
    models = [find_models(run) for run in runs]
    if len(runs) > 1:
        members = [ask(run, paths, config, tta) for run, paths in zip(runs, models, strict=True)]
    elif len(models[0]) > 1:
        members = ask_folds(runs[0], models[0], config, tta)
    else:
        raise DataError(f"{runs[0]}: one model has nothing to be averaged with; name another run")
    for member in members[1:]:
        check_match(members[0], member)
    return members


def ask(run: Path, paths: Sequence[Path], config: DataConfig, tta: bool) -> Member:
    """Return what a run with these models says about its test images."""
    import torch

    if len(paths) == 1:
        return predict_mean(run, paths, load_images(paths[0], config, fold=True), tta)
    data = load_images(paths[0], config, fold=False)
    if not data.held_out:
        return predict_mean(run, paths, data, tta)
    del data
    folds = [predict_mean(path.parent, [path], load_images(path, config, fold=True), tta) for path in paths]
    images = tuple(image for fold in folds for image in fold.images)
    labels, chances = (torch.cat(parts) for parts in zip(*((fold.labels, fold.chances) for fold in folds), strict=True))
    return sort(Member(str(run), folds[0].data, folds[0].classes, images, labels, chances))


def ask_folds(run: Path, paths: Sequence[Path], config: DataConfig, tta: bool) -> list[Member]:
    """Return what each fold of a run says about its data's test part. Raises DataError without one."""
    data = load_images(paths[0], config, fold=False)
    if data.held_out:
        raise DataError(f"{run}: each of its folds was tested on other images; name another run to average it with")
    return [predict_mean(path.parent, [path], data, tta) for path in paths]


def load_images(path: Path, config: DataConfig, fold: bool) -> "Dataset":
    """Return the images that a model was tested on or, without `fold`, the test part of its data."""
    from .models.modelfile import load_model
    from .models.tested import load_tested, need_classes

    facts = load_model(path)[1]
    need_classes(facts, "jobs.ensemble")
    return load_tested(path, facts, config, fold=fold)


def predict_mean(run: Path, paths: Sequence[Path], data: "Dataset", tta: bool) -> Member:
    """Return the mean of what models say about test images."""
    import torch

    from .models.modelfile import load_model
    from .training.evaluation import predict

    chances = torch.stack([predict(load_model(path)[0], data.test, tta) for path in paths]).mean(dim=0)
    return sort(Member(str(run), data.name, data.classes, identify(data), data.test.labels.cpu(), chances))


def identify(data: "Dataset") -> tuple[str, ...]:
    """Return what each test image is known by, wherever the data lie: class, group or name, file name."""
    from .data.parts import name_images

    if not data.test.names:
        return ()
    names = zip(name_images(data, data.test), data.test.names, strict=True)
    return tuple("/".join((label, unit, Path(name).name)) for (label, unit), name in names)


def sort(member: Member) -> Member:
    """Return it in the order of its images, which for files depends on the folds."""
    order = sorted(range(len(member.images)), key=lambda at: member.images[at])
    if not order:
        return member
    images = tuple(member.images[at] for at in order)
    return replace(member, images=images, labels=member.labels[order], chances=member.chances[order])


def check_match(first: Member, other: Member) -> None:
    """Raise DataError unless two runs know the same classes and were tested on the same images."""
    if strange := sorted({*first.classes} ^ {*other.classes}):
        raise DataError(f"{other.run}: has other classes than {first.run}: {names_of(strange)}")
    missing = sorted({*first.images} - {*other.images})
    more = sorted({*other.images} - {*first.images})
    if missing or more:
        which = f"such as {(more or missing)[0]}, which only {(other if more else first).run} was tested on"
    elif first.data != other.data or first.labels.tolist() != other.labels.tolist():
        which = f"{first.data} ({len(first.labels):,} images) and {other.data} ({len(other.labels):,})"
    else:
        return
    raise DataError(
        f"{other.run}: was tested on other images than {first.run}, {which}; train both with the same --data, --seed, "
        "--holdout and --folds"
    )


def measure(members: Sequence[Member]) -> dict[str, Any]:
    """Return the figures of each run, of their mean, and what that gains over the best of them."""
    import torch

    from .scores.intervals import mcnemar, paired_difference

    mean = replace(members[0], run="", chances=torch.stack([member.chances for member in members]).mean(dim=0))
    best = max(members, key=lambda member: member.interval.value)
    gain = paired_difference(best.right, mean.right)
    return {
        "data": mean.data,
        "images": len(mean.labels),
        "runs": [{"run": member.run, **describe(member)} for member in members],
        "mean": describe(mean),
        "best": best.run,
        "gain": gain.value,
        "gain_interval": [gain.low, gain.high],
        "p": mcnemar(best.right, mean.right),
    }


def describe(member: Member) -> dict[str, Any]:
    """Return the accuracy with its interval, and the log loss."""
    found = member.interval
    return {"accuracy": found.value, "interval": [found.low, found.high], "loss": member.loss}


def show(figures: dict[str, Any]) -> None:
    """Print a line for each run, one for their mean, and the gain."""
    say(f"{figures['data']}: {figures['images']:,} images that none of the models was trained on")
    rows = [*((row["run"], row) for row in figures["runs"]), (f"mean of {len(figures['runs'])}", figures["mean"])]
    width = max(len(name) for name, _ in rows)
    say(f"{'':<{width}}  {'accuracy':>8}  {'95% interval':>16}  {'log loss':>8}")
    for name, row in rows:
        low, high = row["interval"]
        say(f"{name:<{width}}  {row['accuracy']:>8.1%}  {f'{low:.1%} to {high:.1%}':>16}  {row['loss']:>8.4f}")
    low, high = figures["gain_interval"]
    say(
        f"the mean gains {figures['gain']:+.1%} over {figures['best']} (95% interval {low:+.1%} to {high:+.1%}, p = "
        f"{figures['p']:.3f})"
    )


if __name__ == "__main__":
    main()
