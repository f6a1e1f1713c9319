"""What the tests of the training code share: real images small enough for seconds, and one trained model."""

import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.config.data import DataConfig
from jobs.config.recipe import Recipe
from jobs.config.settings import Settings
from jobs.data import Dataset, load
from jobs.data.idx import FILES
from jobs.train import run
from jobs.training.distributed import DistributedContext

ROOT = Path(__file__).parent.parent.parent
CONTEXT = DistributedContext(torch.device("cpu"))
FIXED = {"precision": "float32", "layout": "contiguous"}
"""What would otherwise be timed and chosen, differently from run to run."""
PINNED = ("--device", "cpu", "--precision", "float32", "--layout", "contiguous")
torch.set_num_threads(1)


class Operations(TorchDispatchMode):
    """Count what torch is asked to do within a with statement, by name: on a GPU, each is at least one launch or wait."""

    WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal")
    """Operations whose answer the CPU needs: a GPU must finish its work for them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        if func.namespace == "aten" and not func.is_view:
            self.counts[str(func.overloadpacket)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def waits(self) -> int:
        """How often the CPU had to know an answer."""
        return sum(self.counts[name] for name in self.WAITS)


def start(*words: object) -> "subprocess.Popen[str]":
    """Start a Python process in the repository with one stream of output: `-m jobs.train ...`."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environment() -> dict[str, str]:
    """One thread: more only wait for each other where several tests run at once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUJOB_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def settings(out: Path, model: str = "linear", data: object = "digits", **recipe: object) -> Settings:
    """Return settings that train in a second."""
    chosen = Recipe(**{"epochs": 2, "batch_size": 64, "lr": 0.01, **FIXED, **recipe})  # type: ignore[arg-type]
    return Settings(out, model, device="cpu", recipe=chosen, config=DataConfig(str(data)))


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the model that a run wrote."""
    return load_file(out / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    """Return whether two runs wrote the same weights, bit for bit."""
    left, right = weights(one), weights(other)
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def write_idx(folder: Path, data: Dataset) -> Path:
    """Write the four idx files: a magic number that says how many dimensions, each size, the bytes."""
    tensors = (data.train.images.squeeze(1), data.train.labels, data.test.images.squeeze(1), data.test.labels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in zip(FILES, tensors, strict=True):
        head = struct.pack(f">{1 + tensor.dim()}i", 0x0800 + tensor.dim(), *tensor.shape)
        (folder / name).write_bytes(head + bytes(tensor.flatten().tolist()))
    return folder


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load(DataConfig("digits"))


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    """320 digits to train on, five steps an epoch, and 100 to test."""
    shorter = digits.shorten(320)
    return Dataset("few", digits.classes, shorter.train, digits.test.take(torch.arange(100)))


@pytest.fixture(scope="session")
def few_files(few: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a folder of idx files, for --data."""
    return write_idx(tmp_path_factory.mktemp("few"), few)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that trained the small network on all digits: 0.96 with this seed."""
    out = tmp_path_factory.mktemp("trained") / "outputs"
    run(settings(out, "small"))
    return out


@pytest.fixture
def photos(tmp_path: Path, digits: Dataset) -> Path:
    """A folder with three folders of real digits as PNG files, twelve each."""
    folder = tmp_path / "photos"
    for label in range(3):
        (folder / f"is {label}").mkdir(parents=True)
        for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:12].tolist()):
            Image.fromarray(digits.train.images[index, 0].numpy()).save(folder / f"is {label}" / f"{at}.png")
    return folder
