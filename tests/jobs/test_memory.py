"""What is held in memory besides the images does not grow with their number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.config.data import DataConfig
from jobs.data import Source, load, memory
from jobs.data.dataset import Split
from jobs.data.duplicates import find_duplicates
from jobs.images import threads
from jobs.images.threads import in_threads
from jobs.models.networks import statistics


class Handed(Sequence):
    """The numbers from 0, which count how many of them were handed out."""

    def __init__(self, count: int) -> None:
        self.numbers, self.handed = range(count), 0

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> Any:
        found = self.numbers[at]
        self.handed += len(found) if isinstance(at, slice) else 1
        return found


class Largest(TorchDispatchMode):
    """Note the size of the largest tensor that an operation writes within a with statement."""

    size_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and not func.is_view:
            self.size_bytes = max(self.size_bytes, found.nbytes)
        return found


def test_few_files_wait_for_the_threads_however_many_there_are(monkeypatch):
    monkeypatch.setattr(threads, "WAITING", 8)
    numbers = Handed(100)
    for at, found in enumerate(in_threads(lambda number: number * 2, numbers)):
        assert found == 2 * at
        assert numbers.handed <= at + 8
    assert numbers.handed == 100


def test_decoding_and_hashing_hand_their_files_to_the_threads_in_small_numbers(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for at in range(10):
            noise = np.random.default_rng(at).integers(0, 256, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / "data" / name / f"{at}.png")
    most = []
    inside = threads.ThreadPoolExecutor.map
    monkeypatch.setattr(threads, "WAITING", 6)
    monkeypatch.setattr(
        threads.ThreadPoolExecutor, "map", lambda pool, work, some: most.append(len(some)) or inside(pool, work, some)
    )
    data = load(DataConfig(str(tmp_path / "data")), Source(Path("/nowhere"), tmp_path / "cache", download=False))
    assert len(data.train) + len(data.test) == 20
    assert most == [6, 6, 6, 2] * 2, "once to hash, once to decode"


@pytest.mark.parametrize("channels", [1, 3])
def test_no_tensor_as_large_as_all_images_is_made_to_measure_or_compare_them(monkeypatch, channels):
    side, at_once, count = 64, 5, 200
    monkeypatch.setattr(memory, "AT_ONCE_PIXELS", at_once * side * side)
    images = torch.randint(256, (count, channels, side, side), dtype=torch.uint8)
    split = Split(images, torch.zeros(count, dtype=torch.int64))
    with Largest() as seen:
        mean, std = statistics(split)
    floats = images.float()
    assert mean == pytest.approx(floats.mean(dim=(0, 2, 3)).tolist())
    assert std == pytest.approx(floats.std(dim=(0, 2, 3)).tolist(), rel=1e-4)
    assert seen.size_bytes <= max(images[:at_once].nbytes, 256 * channels * 8)
    thumbnails_bytes = 2 * count * channels * 32 * 32
    with Largest() as seen:
        assert find_duplicates(split, split) == [(at, at) for at in range(count)]
    assert seen.size_bytes <= max(images[:at_once].float().nbytes, 4 * thumbnails_bytes)
