"""Decode image files of any mode, in parallel, reporting the broken ones."""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import DataError
from ..program import names_of, say
from .depth import Levels, is_deep, stretch
from .threads import in_threads

ENDINGS = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".tga"),
)
HEIF = (".heic", ".heif")
"""Read with the package pillow-heif, where it is installed."""
GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
MOST_PIXELS = 89_478_485
"""Pillow's limit for decompression bombs: small files that would fill the memory."""

DRAFT = 2
"""JPEG files are decoded at a half, a quarter or an eighth of their size if that leaves this many times the wanted one.

At 2, not even stripes that are finer than a pixel differ from those of a file that was decoded whole; at 1.5 they would.
"""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Square:
    """How an image of any shape becomes a square."""

    resize: str = "crop"
    """crop: its centre; squish: all of it, distorted; pad: all of it, with grey borders."""
    interpolation: str = "bilinear"


CROP = Square()


class BrokenImageError(Exception):
    """A file that cannot be read as an image; the message says why."""


@dataclass(frozen=True)
class Files:
    """Images that are decoded on demand, as squares of `size` pixels."""

    paths: tuple[Path, ...]
    size: int
    channels: int
    strict: bool = False
    """Whether to fail on a broken image."""
    levels: Levels | None = None
    """The values shown as black and white in images of more than 8 bits; by default the range of their mode."""
    square: Square = CROP

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int]) -> "Files":
        """Return the subset with these indices."""
        return replace(self, paths=tuple(self.paths[i] for i in indices))

    def read(self, index: int) -> Tensor:
        """Return one image, uint8 (C, H, W); raises BrokenImageError."""
        pixels = read_image(self.paths[index], self.size, self.levels, self.square)
        if self.channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def open_image(path: Path) -> Image.Image:
    """Open an image, reading only its header; raises BrokenImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix.lower() in HEIF:
                register_heif()
            image = Image.open(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{path}: {error}") from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise BrokenImageError(f"{path}: {image.width:,} x {image.height:,} pixels are more than {MOST_PIXELS:,}")
    return image


@cache
def register_heif() -> None:
    """Make Pillow read HEIC, the format of iPhones, if the package for it is installed."""
    with suppress(ImportError):
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found,unused-ignore]

        register_heif_opener()


def read_image(path: Path, size: int, levels: Levels | None = None, square: Square = CROP) -> Pixels:
    """Return an image as a square, by default its centre: (size, size, 3). Raises BrokenImageError."""
    return read_square(path, size, levels, square)[0]


def read_square(path: Path, size: int, levels: Levels | None, square: Square) -> tuple[Pixels, bool]:
    """Return the same, and whether the file is greyscale."""
    image = open_image(path)
    grey = image.mode in GREY
    try:
        with image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged tag, which Pillow skips
            image.draft("RGB", (DRAFT * size, DRAFT * size))
            upright = to_rgb(rotate(image), levels)
            pixels = np.asarray(fit(upright, size, square))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{path}: {error}") from error
    return pixels, grey


def fit(image: Image.Image, size: int, square: Square) -> Image.Image:
    """Return an image as a square of `size` pixels."""
    resampling = Image.Resampling[square.interpolation.upper()]
    if square.resize == "squish":
        return image.resize((size, size), resampling)
    if square.resize == "pad":
        return ImageOps.pad(image, (size, size), resampling, color=(128, 128, 128))
    return ImageOps.fit(image, (size, size), resampling)


def rotate(image: Image.Image) -> Image.Image:
    """Return the image rotated as its EXIF data says, or unchanged if that is damaged."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError:
        raise
    except Exception:  # Pillow's EXIF reader raises struct.error, KeyError, TypeError and others for invalid data
        image.load()
    return image


def to_rgb(image: Image.Image, levels: Levels | None) -> Image.Image:
    """Convert an image of any mode to RGB: deep ones to 8 bits, transparent to white."""
    if is_deep(image.mode):
        image = stretch(image, levels)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def natural_size(paths: Sequence[Path]) -> int:
    """Return the common size of a sample of files if it is small, otherwise 128 pixels."""
    sizes = set()
    for path in paths[:: max(1, len(paths) // 100)]:
        try:
            with open_image(path) as image:
                sizes.add(image.size)
        except BrokenImageError:
            continue
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if width == height <= 96 else 128


def is_grey(path: Path) -> bool:
    """Return whether an image is greyscale; unreadable files count as grey."""
    try:
        with open_image(path) as image:
            return image.mode in GREY
    except BrokenImageError:
        return True


def is_broken(path: Path) -> bool:
    """Return whether the header of an image cannot be read."""
    try:
        open_image(path).close()
    except BrokenImageError:
        return True
    return False


def read_images(
    paths: Sequence[Path], size: int, strict: bool, levels: Levels | None = None, square: Square = CROP
) -> tuple[Tensor, list[int]]:
    """Decode images to uint8 (N, C, size, size), C = 1 if all are grey; return them and the indices read.

    Broken images are reported and skipped. Raises DataError if all are broken or, with `strict`, if any is.
    """
    sample = paths[:: max(1, len(paths) // 100)]
    channels = 1 if all(map(is_grey, sample)) else 3
    pixels, broken, coloured = decode(paths, size, levels, channels, square)
    if coloured and channels == 1:  # the sample had none of them
        del pixels
        pixels, broken, _ = decode(paths, size, levels, 3, square)
    complain(list(broken.values()), strict)
    whole = [index for index in range(len(paths)) if index not in broken]
    if not whole:
        raise DataError(f"could not read any of {len(paths):,} images: {names_of(list(broken.values()), 1)}")
    if broken:
        for at, index in enumerate(whole):
            pixels[at] = pixels[index]
    return torch.from_numpy(pixels[: len(whole)]), whole


def decode(
    paths: Sequence[Path], size: int, levels: Levels | None, channels: int, square: Square
) -> tuple[Pixels, dict[int, str], bool]:
    """Return the pixels (N, C, size, size), why some are broken, and whether any image is coloured.

    The pixels are allocated once and filled in place, in the order that networks want: two copies may not fit.
    """
    pixels = np.empty((len(paths), channels, size, size), np.uint8)
    broken: dict[int, str] = {}

    def read(index: int) -> bool:
        try:
            found, grey = read_square(paths[index], size, levels, square)
            pixels[index] = found.transpose(2, 0, 1)[:channels]
        except BrokenImageError as error:
            broken[index] = str(error)
            return True
        return grey

    grey = all(in_parallel(read, len(paths), "decoding"))
    return pixels, broken, not grey


def complain(broken: Sequence[str], strict: bool) -> None:
    """Report skipped files; raises DataError instead if `strict`."""
    if broken and strict:
        raise DataError(f"{broken[0]} ({len(broken):,} broken in all; without --strict they are skipped)")
    for each in broken[:20]:
        say(f"skipped: {each}")
    if len(broken) > 20:
        say(f"skipped {len(broken) - 20:,} more")


def in_parallel(work: Callable[[int], bool], count: int, what: str) -> list[bool]:
    """Return `work` of each index, in threads, printing progress every few seconds."""
    results: list[bool] = []
    told = time.monotonic()
    for result in in_threads(work, range(count)):
        results.append(result)
        if time.monotonic() - told > 2:
            told = time.monotonic()
            say(f"{what}: {len(results):,} of {count:,} images")
            sys.stdout.flush()
    return results
