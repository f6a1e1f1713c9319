"""Named data sets: where torchvision stores them, and how to read them."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import DataError
from ..images.layout import list_folder
from ..images.listing import Listing
from .dataset import Dataset, Split
from .idx import DIGITS, FASHION, read_idx
from .splits import split

INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist

# A separate program, because torchvision has no timeout and a thread cannot be stopped. It verifies checksums.
DOWNLOAD = """
import socket, sys, torchvision
socket.setdefaulttimeout(20)
getattr(torchvision.datasets, sys.argv[1])(sys.argv[2], *sys.argv[3:], download=True)
"""


@dataclass(frozen=True)
class Name:
    """A torchvision data set: its class, arguments, location and reader."""

    torchvision: str
    folder: str
    read: Callable[[Path], "Dataset | tuple[Listing, Listing | None]"]
    arguments: tuple[str, ...] = ()

    def is_here(self, cache: Path) -> bool:
        """Return whether the data set was already downloaded."""
        return (cache / self.folder).is_dir()


def fetch(torchvision_name: str, cache: Path, limit_s: float, *arguments: str) -> str:
    """Download a data set into `cache` within `limit_s`; return why that failed, or ""."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Downloaded completely, then renamed, so that no partial data set is ever used.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as root:
            command = [sys.executable, "-c", DOWNLOAD, torchvision_name, root, *arguments]
            subprocess.run(command, check=True, capture_output=True, timeout=limit_s)
            for each in Path(root).iterdir():
                if each.is_dir() and not (cache / each.name).exists():  # another process may have been faster
                    each.rename(cache / each.name)
    except subprocess.TimeoutExpired:
        return f"download timed out after {limit_s:g} s"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        return f"download failed: {said.splitlines()[-1] if said else error}"
    except OSError as error:
        return f"download failed: {error}"
    return ""


def digits() -> Dataset:
    """Return scikit-learn's 1,797 digits of 8x8 pixels, a fifth of them for testing."""
    from sklearn.datasets import load_digits  # slow to import, and only needed for these images

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # stored as 0 to 16
    whole = Split(images, torch.from_numpy(bunch.target).to(torch.int64))
    train, test = split(whole.labels, 0.2, 0)
    return Dataset("digits", DIGITS, whole.take(train), whole.take(test))


def read_cifar10(cache: Path) -> Dataset:
    """Read CIFAR-10 from torchvision's folder."""
    from torchvision.datasets import CIFAR10  # slow to import, and only needed for these images

    try:
        splits = [CIFAR10(str(cache), train=train) for train in (True, False)]
    except RuntimeError as error:
        raise DataError(f"{cache / 'cifar-10-batches-py'}: {error}") from error
    train, test = (
        Split(torch.from_numpy(p.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(p.targets)) for p in splits
    )
    return Dataset("CIFAR-10", tuple(splits[0].classes), train, test)


def list_pets(cache: Path, breeds: bool) -> tuple[Listing, Listing]:
    """Read Oxford-IIIT Pet annotations: "Abyssinian_100 1 1 1" is name, breed, species, number.

    https://www.robots.ox.ac.uk/~vgg/data/pets
    """
    root = cache / "oxford-iiit-pet"
    found = []
    for name in ("trainval", "test"):
        rows = [line.split() for line in (root / "annotations" / f"{name}.txt").read_text().splitlines()]
        files = tuple(root / "images" / f"{row[0]}.jpg" for row in rows)
        labels = [row[0].rsplit("_", 1)[0] if breeds else ("cat", "dog")[int(row[2]) - 1] for row in rows]
        found.append(Listing("pets", files, tuple(labels), tuple(row[0] for row in rows)))
    return found[0], found[1]


def read_torchvision_idx(folder: str, name: str, classes: tuple[str, ...]) -> Callable[[Path], Dataset]:
    """Return a reader of torchvision's idx files."""
    return lambda cache: read_idx(cache / folder / "raw", name, classes, cache)


NAMES = {
    "fashion-mnist": Name(
        "FashionMNIST", "FashionMNIST", read_torchvision_idx("FashionMNIST", "Fashion-MNIST", FASHION)
    ),
    "mnist": Name("MNIST", "MNIST", read_torchvision_idx("MNIST", "MNIST", DIGITS)),
    "cifar10": Name("CIFAR10", "cifar-10-batches-py", read_cifar10),
    "imagenette": Name(
        "Imagenette", "imagenette2-160", lambda cache: list_folder(cache / "imagenette2-160"), ("train", "160px")
    ),
    "pets": Name("OxfordIIITPet", "oxford-iiit-pet", lambda cache: list_pets(cache, breeds=False)),
    "pet-breeds": Name("OxfordIIITPet", "oxford-iiit-pet", lambda cache: list_pets(cache, breeds=True)),
}
