"""What the tests of the training code share: real images small enough for seconds, and the programs in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs.config.data import DataConfig
from jobs.config.recipe import Recipe
from jobs.config.settings import Settings
from jobs.data import Dataset, load

ROOT = Path(__file__).parent.parent.parent
FIXED = {"precision": "float32", "layout": "contiguous"}
"""What a timing would else decide, differently from run to run."""
torch.set_num_threads(1)


def program(
    name: str, *arguments: object, cwd: Path = ROOT, timeout_s: float = 240
) -> "subprocess.CompletedProcess[str]":
    """Run a program of the folder to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """One thread: more only wait for each other where several tests run at once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUJOB_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def settings(out: Path, model: str = "linear", data: str = "digits", **recipe: object) -> Settings:
    """Return settings that train in a second."""
    chosen = Recipe(**{"epochs": 2, "batch_size": 64, "lr": 0.01, **FIXED, **recipe})  # type: ignore[arg-type]
    return Settings(out, model, device="cpu", recipe=chosen, config=DataConfig(data))


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load(DataConfig("digits"))


@pytest.fixture
def photos(tmp_path: Path, digits: Dataset) -> Path:
    """A folder with three folders of real digits as PNG files, twelve each."""
    folder = tmp_path / "photos"
    for label in range(3):
        (folder / f"is {label}").mkdir(parents=True)
        for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:12].tolist()):
            Image.fromarray(digits.train.images[index, 0].numpy()).save(folder / f"is {label}" / f"{at}.png")
    return folder
