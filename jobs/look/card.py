"""The model card (arXiv:1810.03993): what a model is for, how good it is, and how to run it.

A page that is passed on names no folder of the computer it was made on.
"""

import math
from pathlib import Path
from typing import Any

from ..models.modelfile import Facts
from .names import isolate, shorten
from .report import Table

MOST_NAMED, MOST_LETTERS = 12, 30
Z = 1.96
FEW = 100
"""With fewer test images the interval is wide, and the card says so."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of right answers (Wilson 1927), within 0 and 1."""
    share, square = right / count, Z * Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def show_card(
    facts: Facts, data: str, right: int, counts: tuple[int, int], baseline: str, kept: dict[str, Any]
) -> Table:
    """Return the card; `counts` are the training and test images, `kept` the settings of the run."""
    train, test = counts
    low, high = wilson(right, test)
    named = ", ".join(isolate(shorten(name, MOST_LETTERS)) for name in facts.classes[:MOST_NAMED])
    more = f" and {len(facts.classes) - MOST_NAMED:,} more" if len(facts.classes) > MOST_NAMED else ""
    colours = "colour" if facts.shape[0] == 3 else "grey"
    limits = [
        "It always answers with one of its classes, also for an image of something else.",
        "Images from another camera, place or time than the data may be recognized less well.",
    ]
    if test < FEW:
        limits.append(f"{test:,} test images are few: see the interval.")
    start = (
        "fine-tuned from pretrained weights"
        if kept.get("pretrained") or kept.get("weights")
        else "trained from scratch"
    )
    rows = [
        ("Task", f"one class for each image, {colours}, seen at {facts.shape[2]} x {facts.shape[1]} pixels"),
        ("Model", f"{facts.model}, {start}"),
        ("Classes", f"{len(facts.classes):,}: {named}{more}"),
        ("Data", f"{isolate(Path(data).name)}: {train:,} images to train on, {test:,} others to test with"),
        ("Accuracy", f"{right / test:.1%}, 95 % interval {low:.1%} to {high:.1%} ({right:,} of {test:,})"),
        ("Baseline", baseline),
        ("Limits", " ".join(limits)),
        ("How to run", "python -m jobs.predict MODEL photo.jpg"),
    ]
    return Table("Model card", rows)
