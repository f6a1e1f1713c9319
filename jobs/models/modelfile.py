"""Model files: safetensors with network, classes, data and accuracy in the metadata."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..errors import CheckpointError
from ..images.decoding import Square
from ..program import list_results
from ..tasks import SINGLE_LABEL, Task
from . import Classifier
from .networks import bare
from .weights import fill, read_task

NAME = "model.safetensors"
FOLD = "fold-{}"
"""The folder of one of several folds, from 1, in that of their run."""


@dataclass(frozen=True)
class Facts:
    """The metadata of a model file."""

    model: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the training images."""
    data: str
    accuracy: float
    """On the test images; of another task than single-label, the figure that leads there."""
    seed: int = 0
    levels: tuple[float, float] | None = None
    """The values shown as black and white in images of more than 8 bits."""
    resize: str = "crop"
    interpolation: str = "bilinear"
    """How files became squares."""
    task: Task = SINGLE_LABEL

    @property
    def square(self) -> Square:
        """How files become squares."""
        return Square(self.resize, self.interpolation)


def save_model(path: Path, model: nn.Module, facts: Facts) -> None:
    """Write a portable model file atomically. Raises CheckpointError."""
    part = path.with_suffix(".part")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    try:
        save_file(tensors, part, {"gpujob": json.dumps({**facts.__dict__, **facts.task.stored})})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot write: {error}") from error


def is_model(path: Path) -> bool:
    """Return whether a path is a model file or a run folder with one."""
    return path.suffix == ".safetensors" or any(
        (folder / name).is_file() for folder in list_results(path) for name in (NAME, f"{FOLD.format(1)}/{NAME}")
    )


def find_model(path: Path) -> Path:
    """Return the model file: `path` itself, or the one in a run folder. Raises CheckpointError."""
    if path.is_file():
        return path
    for folder in list_results(path):
        if not count_folds(folder) and (found := folder / NAME).is_file():
            return found
        if (fold := folder / FOLD.format(1)).is_dir():
            raise CheckpointError(f"{path}: has a model for each of its folds; name one, such as {fold}")
    raise CheckpointError(f"{path}: no model found; expected a model file or a folder with {NAME}")


def find_models(path: Path) -> list[Path]:
    """Return a run's model file, or those of all its folds. Raises CheckpointError."""
    for folder in list_results(path):
        if count := count_folds(folder):
            return [find_model(folder / FOLD.format(fold)) for fold in range(1, count + 1)]
        if (folder / FOLD.format(1)).is_dir() and not (folder / NAME).is_file():
            raise CheckpointError(f"{path}: its cross-validation has not ended; continue it with --resume auto")
    return [find_model(path)]


def count_folds(folder: Path) -> int:
    """Return how many folds a run has, by its args.json; 0 if it has none or has not ended."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = json.loads((folder / "args.json").read_text())
        return 0 if kept.get("fold") else int(kept.get("folds", 0))
    return 0


def load_model(path: Path) -> tuple[Classifier, Facts]:
    """Load a model and its metadata from a file or run folder. Raises CheckpointError."""
    path = find_model(path)
    try:
        with safe_open(path, "pt") as kept:
            head = (kept.metadata() or {}).get("gpujob")
            weights = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  it is not a dictionary
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors file: {error}") from error
    if head is None:
        raise CheckpointError(f"{path}: not written by this program; train from these weights with --weights")
    try:
        facts = read_facts(json.loads(head))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its description is damaged, or of another version: {error}") from error
    model = bare(facts.model, facts.shape, len(facts.classes))
    model.task = facts.task
    try:
        fill(model, weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights do not fit '{facts.model}': {error}") from error
    return model.eval(), facts


def read_facts(head: dict[str, Any]) -> Facts:
    """Read the metadata from a file's header."""
    channels, height, width = head.pop("shape")
    levels = head.pop("levels", None)
    task = read_task({name: head.pop(name) for name in SINGLE_LABEL.stored if name in head})
    return Facts(
        task=task,
        shape=(channels, height, width),
        classes=tuple(head.pop("classes")),
        levels=(levels[0], levels[1]) if levels else None,
        **head,
    )
