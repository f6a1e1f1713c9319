"""Checkpoints on disk: the weights, and everything else needed to resume.

    checkpoints/step-00000120/
      weights.safetensors   the network's weights
      state.pt              optimizers, average, losses, history, clock; read with weights_only, so no code in it runs

A folder is renamed into place once it is complete, and only then are older ones removed: if the process is killed, a
complete checkpoint remains.
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

WEIGHTS, STATE = "weights.safetensors", "state.pt"
FORMAT = 3
"""Of state.pt. Version 1 was implicit, with one optimizer and an average without torch's own count; 2 had no data."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run."""

    folder: Path
    every_s: float = 60.0

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        found = sorted(self.folder.glob("step-????????"))
        return found[-1] if found else None

    def clear(self) -> None:
        """Remove the checkpoints of an earlier run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, step: int, weights: dict[str, Tensor], state: dict[str, Any]) -> Path:
        """Write a checkpoint and remove older ones; raises CheckpointError, leaving the older ones."""
        path = self.folder / f"step-{step:08}"
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
        for old in self.folder.glob("step-????????"):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
        return path


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
