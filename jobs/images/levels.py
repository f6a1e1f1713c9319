"""Choose the values shown as black and white in images of more than 8 bits, for a whole data set."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..program import say
from .decoding import BrokenImageError, open_image
from .depth import Levels, is_deep

TOPS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""The highest values of sensors of 8, 10, 12, 14 and 16 bits, all stored in 16 bits."""
SAMPLE = 200
"""The number of files to sample, evenly spaced."""


def find_levels(paths: Sequence[Path]) -> Levels | None:
    """Return and report the levels that fit a sample of a data set's deep images; None without any."""
    lows, highs, fractions = [], [], False
    for path in paths[:: -(-len(paths) // SAMPLE) or 1]:
        try:
            with open_image(path) as image, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # decoding names what is broken
                if is_deep(image.mode):
                    values = np.asarray(image, dtype=np.float64)
                    values = values[np.isfinite(values)]
                    fractions |= image.mode == "F"
                    if values.size:
                        lows.append(float(values.min()))
                        highs.append(float(values.max()))
        except (BrokenImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError):
            continue
    if not highs:
        return None
    levels = choose_levels(min(lows), max(highs), fractions)
    say(f"images of more than 8 bits: {levels[0]:g} becomes black, {levels[1]:g} white (--range LOW:HIGH changes that)")
    return levels


def is_deep_file(path: Path) -> bool:
    """Return whether an image has more than 8 bits a channel; one that cannot be read has not."""
    try:
        with open_image(path) as image:
            return is_deep(image.mode)
    except BrokenImageError:
        return False


def choose_levels(low: float, high: float, fractions: bool) -> Levels:
    """Return the levels for values from `low` to `high`: those of a usual depth, otherwise the values."""
    if low < 0 or high > TOPS[-1]:
        return (low, high) if high > low else (low, low + 1.0)
    if fractions and high <= 1.0:
        return 0.0, 1.0
    return 0.0, next(top for top in TOPS if high <= top)
