"""Read the idx files of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..images.cache import FOLDER, cached
from .dataset import Dataset, Split

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS = tuple("0123456789")
UNSIGNED_BYTE = 0x08


def missing(folder: Path) -> list[str]:
    """Return those of the four idx files that are missing from `folder`."""
    return [name for name in FILES if not any((folder / f"{name}{end}").is_file() for end in ("", ".gz"))]


def read_idx(
    folder: Path, name: str = "Fashion-MNIST", classes: tuple[str, ...] = FASHION, cache: Path = FOLDER
) -> Dataset:
    """Load the four idx files in `folder`; unpack into `cache` if needed.

    Raises DataError if a file is missing or invalid.
    """
    if absent := missing(folder):
        raise DataError(f"{folder / absent[0]}: no such file (nor .gz); --data needs {', '.join(FILES)}")
    images, labels, test_images, test_labels = (read_array(folder, file, cache) for file in FILES)
    splits = []
    for pixels, targets in ((images, labels), (test_images, test_labels)):
        belong = pixels.dim() == 3 and targets.dim() == 1 and 0 < len(pixels) == len(targets)
        if not belong or int(targets.max()) >= len(classes):
            raise DataError(f"{folder}: the numbers of images and labels differ")
        splits.append(Split(pixels.unsqueeze(1), targets.to(torch.int64)))
    return Dataset(name, classes, splits[0], splits[1])


def read_array(folder: Path, name: str, cache: Path) -> Tensor:
    """Return the array in one file, plain or gzipped."""
    path, packed = folder / name, folder / f"{name}.gz"
    try:
        if path.is_file():
            return parse(path.read_bytes(), path)
        return cached(cache, [packed], "idx", lambda: (parse(unpack(packed), packed), []))[0]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path if path.is_file() else packed}: cannot read: {error}") from error


def unpack(path: Path) -> bytes:
    """Decompress a .gz file."""
    with gzip.open(path) as packed:
        return packed.read()


def parse(content: bytes, path: Path) -> Tensor:
    """Parse an idx file: two zero bytes, type, number of dimensions, sizes, values."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise DataError(f"{path}: not an idx file of bytes")
    head = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4)]
    if len(content) < head or len(content) - head != prod(shape):
        raise DataError(
            f"{path}: truncated or corrupt: {len(content):,} bytes do not match {' x '.join(map(str, shape))}"
        )
    values = np.frombuffer(content, np.uint8, offset=head).reshape(shape)
    return torch.from_numpy(values.copy())
