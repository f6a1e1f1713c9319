"""Plots and coloured pictures; matplotlib is imported in this module only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import font_manager
from matplotlib import pyplot as plt

from ..program import say, visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

INK, BLUE, ORANGE, GREY = "#222222", "#2a6fbb", "#d9822b", "#bbbbbb"
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
BARE = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
NOTES = ("Creator", "Date", "Format", "Type")
"""What matplotlib would write into an SVG file about itself."""
VECTOR: dict[Any, str] = {"svg.fonttype": "none", **dict.fromkeys(INKED, INK), **dict.fromkeys(BARE, "none")}
OVERLAY = 0.55
"""Opacity of a heat map over an image."""


@contextmanager
def figure(path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Any]:
    """Yield the axes of a new figure, or its only axis; write it to `path` at the end.

    An SVG file has no background and takes the colour and the font of the text around it, in light and dark.
    """
    vector = path.suffix == ".svg"
    with mpl.rc_context({**VECTOR, "svg.hashsalt": path.stem} if vector else {}):
        drawn, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
        try:
            yield axes
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn.savefig(path, dpi=110, metadata=dict.fromkeys(NOTES) if vector else None)
        finally:
            plt.close(drawn)
    if vector:
        path.write_text(path.read_text(encoding="utf-8").replace(INK, "currentColor"), encoding="utf-8")


def label_x(axis: Any, text: str) -> None:
    """Label the x axis with a text that may contain any name: $ is literal, and all fonts are tried."""
    fonts, missing = find_fonts(text := visible(text))
    if missing:
        say(f"no installed font has {missing}: the picture shows ? instead")
    axis.set_xlabel(text.translate(dict.fromkeys(map(ord, missing), "?")), parse_math=False, fontfamily=fonts)


def find_fonts(text: str) -> tuple[list[str], str]:
    """Return the fonts that a text needs, matplotlib's own first, and the characters that no font has."""
    own = mpl.rcParams["font.sans-serif"][0]
    fonts: list[str] = []
    missing = set(text)
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name != own):
        if not missing:
            break
        if entry.name.startswith("Last Resort"):  # it has a box for every character
            continue
        with suppress(OSError, RuntimeError):  # a font that only matplotlib's list can read
            has = {letter for letter in missing if font_manager.get_font(entry.fname).get_char_index(ord(letter))}
            if has or not fonts:
                fonts.append(entry.name)
                missing -= has
    return fonts, "".join(sorted(missing))


def draw_curve(
    path: Path, x: Sequence[float], y: Sequence[float], labels: tuple[str, str], log: bool = False, mark: float = 0.0
) -> None:
    """Draw one line; `mark` is a position to highlight on the x axis."""
    with figure(path) as axis:
        axis.plot(x, y, color=BLUE)
        if log:
            axis.set_xscale("log")
        if mark:
            axis.axvline(mark, color=ORANGE, linestyle="--")
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.grid(alpha=0.3)


def draw_epochs(path: Path, epochs: Sequence[float], values: Sequence[float], label: str, colour: str) -> None:
    """Draw one value per epoch."""
    with figure(path, size=(4.6, 3.0)) as axis:
        axis.plot(epochs, values, "o-", color=colour)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.set_xlim(0.5, len(epochs) + 0.5)
        axis.locator_params(axis="x", integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)


def colour(values: "NDArray[Any]", name: str, low: float = 0.0, high: float = 1.0) -> "NDArray[np.uint8]":
    """Return values (H, W) as RGB pixels in a colour map of matplotlib."""
    shares = (values - low) / max(high - low, 1e-9)
    pixels: NDArray[np.uint8] = (mpl.colormaps[name](shares)[..., :3] * 255).astype(np.uint8)
    return pixels


def overlay(image: "NDArray[np.uint8]", heat: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Blend coloured pixels into an image, grey (H, W) or RGB."""
    base = image if image.ndim == 3 else image[..., None].repeat(3, axis=2)
    mixed: NDArray[np.uint8] = (base * (1 - OVERLAY) + heat * OVERLAY).astype(np.uint8)
    return mixed
