"""Find Fashion-MNIST on this machine, or fetch it, or fall back to scikit-learn's handwritten digits.

Everything is small enough (55 MB) to live in memory as uint8, which feeds the network two orders of magnitude
faster than decoding image by image.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import FashionMNIST

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpujob"
DOWNLOAD_LIMIT = 60  # seconds for all of 30 MB; without a network it ends sooner

# A program of its own, because torchvision sets no time limit and a thread cannot be stopped.
DOWNLOAD = """
import socket, sys, torchvision
socket.setdefaulttimeout(5)
torchvision.datasets.FashionMNIST(sys.argv[1], download=True)
"""


class DataError(Exception):
    """The data set asked for cannot be used; the message names the file."""


@dataclass(frozen=True)
class Dataset:
    """Images and labels, in memory: images uint8 (N, 1, H, W), labels int64 (N,)."""

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load(
    folder: Path | None = None, installed: Path = INSTALLED, cache: Path = CACHE, download: bool = True
) -> Dataset:
    """Return the first data set found: in `folder`, installed, in the cache, downloaded, else the digits.

    A `folder` that was asked for is never replaced by another source: DataError says what it lacks.
    """
    if folder is not None:
        return read_idx(folder)
    raw = cache / "FashionMNIST" / "raw"  # torchvision's layout
    for found in (installed, raw):
        if not missing(found):
            return read_idx(found)
    reason = fetch(cache) if download else "download is off"
    if not reason:
        return read_idx(raw)
    print(f"Fashion-MNIST not found ({reason}): using scikit-learn's 1,797 handwritten digits instead", flush=True)
    return digits()


def missing(folder: Path) -> list[str]:
    """Return those of the four idx files that `folder` has neither plain nor as .gz."""
    return [name for name in FILES if not any((folder / f"{name}{end}").is_file() for end in ("", ".gz"))]


def read_idx(folder: Path) -> Dataset:
    """Return Fashion-MNIST from the four idx files in `folder`, plain or .gz."""
    if absent := missing(folder):
        raise DataError(f"{folder / absent[0]}: no such file, and no .gz of it; --data needs {', '.join(FILES)}")
    try:
        # torchvision wants plain files under its own folder names: a private folder, gone afterwards,
        # can neither clutter the working folder nor collide with another process.
        with tempfile.TemporaryDirectory(prefix="gpujob-") as root:
            lay_out(folder, Path(root) / "FashionMNIST" / "raw")
            train, test = (FashionMNIST(root, train=part, download=False) for part in (True, False))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, AssertionError, RuntimeError) as exc:
        raise DataError(f"{folder}: not readable as Fashion-MNIST: {exc!r}") from exc
    for part in (train, test):
        whole = part.data.dim() == 3 and 0 < len(part.data) == len(part.targets)
        if not whole or part.targets.max() >= len(part.classes):
            raise DataError(f"{folder}: images and labels do not belong together")
    images, labels = zip(*((part.data.unsqueeze(1), part.targets) for part in (train, test)), strict=True)
    return Dataset("Fashion-MNIST", tuple(train.classes), images[0], labels[0], images[1], labels[1])


def lay_out(folder: Path, raw: Path) -> None:
    """Put the four files of `folder` into the new folder `raw`: links to plain files, .gz files unpacked."""
    raw.mkdir(parents=True)
    for name in FILES:
        if (plain := folder / name).is_file():
            (raw / name).symlink_to(plain.resolve())
        else:
            with gzip.open(folder / f"{name}.gz") as packed, (raw / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)


def fetch(cache: Path, limit: float = DOWNLOAD_LIMIT) -> str:
    """Download Fashion-MNIST into `cache` in at most `limit` seconds; return why that failed, or an empty string."""
    raw = cache / "FashionMNIST" / "raw"
    reason = "the download is incomplete"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Complete first, renamed last: nobody meets half a data set.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as root:
            command = [sys.executable, "-c", DOWNLOAD, root]
            subprocess.run(command, check=True, capture_output=True, timeout=limit)
            (Path(root) / "FashionMNIST").rename(raw.parent)
    except subprocess.TimeoutExpired:
        reason = f"no download within {limit:g} s"
    except subprocess.CalledProcessError as exc:
        said = exc.stderr.decode(errors="replace").strip()
        reason = f"no download: {said.splitlines()[-1] if said else exc}"
    except OSError as exc:
        reason = f"no download: {exc}"
    return reason if missing(raw) else ""  # another process may have been faster


def digits() -> Dataset:
    """Return scikit-learn's real 8x8 handwritten digits: 1,437 to train, 360 to test, the same split every time."""
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # stored as 0 to 16
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    train, test = train_test_split(range(len(labels)), test_size=360, random_state=0, stratify=labels)
    return Dataset("digits", tuple("0123456789"), images[train], labels[train], images[test], labels[test])
