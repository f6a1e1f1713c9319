"""Convert images of more than 8 bits; the levels are the values shown as black and white."""

import numpy as np
from PIL import Image

Levels = tuple[float, float]
"""The values that become 0 and 255."""


def is_deep(mode: str) -> bool:
    """Return whether an image of Pillow's mode has more than 8 bits a channel."""
    return mode.startswith("I") or mode == "F"


def default_levels(mode: str) -> Levels:
    """Return the levels of an image whose data set is unknown: the range of its mode."""
    return (0.0, 1.0) if mode == "F" else (0.0, 65535.0)


def stretch(image: Image.Image, levels: Levels | None) -> Image.Image:
    """Convert a deep image to 8 bits; values beyond the levels become black or white."""
    low, high = levels or default_levels(image.mode)
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=high, neginf=low)
    return Image.fromarray(((values - low) * (255.0 / (high - low))).clip(0, 255).round().astype(np.uint8))
