"""The model card (arXiv:1810.03993): what a model is for, how good it is, and how to run it.

A page that is passed on names no folder of the computer it was made on.
"""

from pathlib import Path
from typing import Any

from ..models.modelfile import Facts
from ..scores.intervals import wilson
from .names import isolate, shorten
from .report import Table

MOST_NAMED, MOST_LETTERS = 12, 30
FEW = 100
"""With fewer test images the interval is wide, and the card says so."""


def show_card(
    facts: Facts, data: str, right: int, counts: tuple[int, int], baseline: str, kept: dict[str, Any]
) -> Table:
    """Return the card; `counts` are the training and test images, `kept` the settings of the run."""
    train, test = counts
    accuracy = wilson(right / test, test)
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
        (
            "Accuracy",
            f"{accuracy.value:.1%}, 95% interval {accuracy.low:.1%} to {accuracy.high:.1%} ({right:,} of {test:,})",
        ),
        ("Baseline", baseline),
        ("Limits", " ".join(limits)),
        ("How to run", "python -m jobs.predict MODEL photo.jpg"),
    ]
    return Table("Model card", rows)
