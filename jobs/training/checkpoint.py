"""Checkpoints on disk: the weights, and everything else needed to resume.

    checkpoints/step-00000120/
      weights.safetensors   the network's weights
      state.pt              optimizers, average, losses, history, clock; read with weights_only, so no code in it runs

A folder is renamed into place once it is complete, and only then are older ones removed: if the process is killed, a
complete checkpoint remains. While only the last layer is trained, it is called head-00000120.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from ..program import list_results

WEIGHTS, STATE = "weights.safetensors", "state.pt"
FORMAT = 4
"""Of state.pt. Version 1 was implicit, with one optimizer and an average without torch's own count; 2 had no data; 3 knew
accuracy alone."""


WHOLE, HEAD = "step", "head"
"""What the names of checkpoints begin with; those of the last layer are sorted before those that come after them."""
OF_HEAD = "was made with --freeze-epochs; resume with that, or train without --resume"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, of which only the newest is kept."""

    folder: Path
    every_s: float = 60.0
    phase: str = WHOLE

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        found = self.all()
        return found[-1] if found else None

    def all(self) -> list[Path]:
        """Return the complete checkpoints, the newest last."""
        return sorted(path for phase in (HEAD, WHOLE) for path in self.folder.glob(f"{phase}-????????"))

    def clear(self) -> None:
        """Remove the checkpoints of an earlier run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, step: int, weights: dict[str, Tensor], state: dict[str, Any]) -> Path:
        """Write a checkpoint and remove older ones; raises CheckpointError, leaving the older ones."""
        path = self.folder / f"{self.phase}-{step:08}"
        part = self.folder / f".part-{step:08}"
        if path.is_dir():
            return path
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, part / WEIGHTS)
            torch.save({"format": FORMAT, **state}, part / STATE)
            for name in (WEIGHTS, STATE):
                flush(part / name)
            part.rename(path)
            flush(self.folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch's writer raises RuntimeError for a full disk
            shutil.rmtree(part, ignore_errors=True)
            last = self.latest()
            stands = f"; the last good checkpoint is {last}" if last else ""
            raise CheckpointError(f"cannot save to {self.folder}: {first_line(error)}{stands}") from error
        for old in self.all():
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
        return path


def find_checkpoint(resume: str, out: Path) -> Path | None:
    """Return the checkpoint that --resume names, if any. Raises CheckpointError."""
    if not resume:
        return None
    path = out if resume == "auto" else Path(resume)
    folders = [*(folder / "checkpoints" for folder in list_results(path)), path]
    found = next(filter(None, (Checkpoints(folder).latest() for folder in folders)), None)
    if (path / STATE).is_file():
        found = path
    if not found and resume != "auto":
        raise CheckpointError(f"--resume {path}: no checkpoint found")
    return found


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint is of more than the last layer."""
    return not path.name.startswith(f"{HEAD}-")


def copy_best(resume: Path, out: Path) -> None:
    """Copy the best model so far to `out` if the run continues there: early stopping may need it."""
    best = resume.parent.parent / out.name  # next to the folder of checkpoints
    if best.is_file() and not out.exists():
        shutil.copyfile(best, out)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load weights and state; raises CheckpointError if the checkpoint is invalid."""
    state = load_state(path)
    try:
        weights = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path / WEIGHTS}: corrupt: {first_line(error)}") from error
    return weights, state


def load_state(path: Path, small: bool = False) -> dict[str, Any]:
    """Load all but the weights; if `small`, tensors are read when used. Raises CheckpointError."""
    for name in (WEIGHTS, STATE):
        if not (path / name).is_file():
            raise CheckpointError(f"{path}: not a checkpoint: {name} is missing")
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True, mmap=small)
    except Exception as error:  # unpickling and unzipping a corrupt file may raise anything
        raise CheckpointError(
            f"{path / STATE}: refused: corrupt or not written by this program: {first_line(error)}"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path / STATE}: refused: not written by this program")
    if (found := state.pop("format", 1)) != FORMAT:
        raise CheckpointError(
            f"{path}: refused: format {found}, but this version reads {FORMAT}; resume with the version "
            "that wrote it, or train without --resume"
        )
    return state


def flush(path: Path) -> None:
    """Flush a file or folder to disk."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
