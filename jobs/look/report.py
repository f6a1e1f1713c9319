"""The report as one HTML page: no external files, no JavaScript, for phones too, light and dark."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..program import visible
from .names import shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

STYLE = """
:root { color-scheme: light dark; --ink: #1d232a; --paper: #ffffff; --line: #d8dde3; --dim: #5b6673; --fill: 42, 111, 187 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7ebef; --paper: #14181d; --line: #343c46; --dim: #9aa6b2; --fill: 90, 155, 225 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0.5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem }
h3 { font-size: 0.92rem; margin: 0.8rem 0 0.3rem }
.big { font-size: 2.6rem; font-weight: 700; margin: 0 } .dim { color: var(--dim); margin: 0.2rem 0; font-size: 0.9rem }
.plots { display: grid; gap: 0.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)) }
.plots svg { width: 100%; max-width: 32rem; height: auto; display: block }
.plots svg text { font-family: system-ui, sans-serif !important }
.tiles { display: grid; gap: 0.6rem; grid-template-columns: repeat(6, 1fr) }
.tiles.small { gap: 0.3rem; grid-template-columns: repeat(8, 1fr) }
@media (max-width: 40rem) { .tiles { grid-template-columns: repeat(3, 1fr) } }
figure { margin: 0; min-width: 0 }
.tiles img { width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated; border-radius: 4px; display: block }
figcaption { font-size: 0.75rem; line-height: 1.35; margin-top: 0.2rem }
figcaption span { display: block } figcaption span:last-child:not(:first-child) { color: var(--dim) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 0.92rem } .wide { width: 100% }
td, th { text-align: left; padding: 0.3rem 0.6rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  unicode-bidi: plaintext }
th { font-weight: 600 } th:first-child { min-width: 6.5rem } .whole { white-space: nowrap }
@media (max-width: 40rem) { td, th { font-size: 0.85rem; padding-right: 0.4rem } }
.matrix td, .matrix th { border: 0; padding: 0.15rem; font-size: 0.75rem; text-align: center; vertical-align: middle;
  min-width: 1.7rem; white-space: nowrap }
.matrix th { font-weight: 400 }
.matrix th[scope=row] { text-align: right; padding-right: 0.4rem; position: sticky; left: 0; background: var(--paper) }
.matrix thead th { vertical-align: bottom } .matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg) }
.scale { display: flex; gap: 0.5rem; align-items: center; font-size: 0.75rem; margin: 0.2rem 0 }
.scale img { width: 8rem; height: 0.7rem; border-radius: 2px }
summary { cursor: pointer; margin: 0.5rem 0; font-size: 0.92rem } tfoot td { font-weight: 600 }
"""
NAMED_GROUP = re.compile(r' id="[\w.]+_\d+"')
MOST_ROWS = 40
"""Of a table; the others are shown on demand."""
MOST_PIXELS = 256
"""Sides of the small pictures: the page holds dozens of them."""
MOST_LETTERS = 24
"""Of a name next to a confusion matrix; the whole name is its tooltip, and in the other tables."""


@dataclass(frozen=True)
class Picture:
    """Plots under one heading, as SVG files."""

    title: str
    caption: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Tile:
    """A small picture, grey (H, W) or RGB (H, W, 3), with the lines of its caption."""

    pixels: "NDArray[np.uint8]"
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """What the colours of a heat map mean, from its lowest value to its highest."""

    colours: str
    """A colour map of matplotlib."""
    low: str
    high: str


@dataclass(frozen=True)
class Row:
    """Tiles with a label ("" for none)."""

    label: str
    tiles: tuple[Tile, ...]
    scale: Scale | None = None


@dataclass(frozen=True)
class Gallery:
    """Rows of small pictures in a regular grid."""

    title: str
    caption: str
    rows: Sequence[Row]
    small: bool = False
    """Eight to a row at any width, instead of six, or three on a phone."""


@dataclass(frozen=True)
class Table:
    """A table; without heads the first column labels the rows."""

    title: str
    rows: Sequence[Sequence[Any]]
    heads: Sequence[str] = ()
    caption: str = ""
    foot: Sequence[Any] = ()
    """A last row, such as means, which is always shown."""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: a row for each true class, a column for each predicted one."""

    title: str
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]


Part = Picture | Gallery | Table | Matrix


def write_report(path: Path, title: str, accuracy: float | str, lead: str, parts: Sequence[Part]) -> None:
    """Write the page; an answer in words may stand in place of the accuracy."""
    headline = accuracy if isinstance(accuracy, str) else f"{accuracy:.1%}"
    body = "\n".join(map(show, parts))
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{clean(title)}</title><style>{STYLE}</style></head><body>\n"
        f'<h1>{clean(title)}</h1>\n<p class="big">{clean(headline)}</p>\n<p class="dim">{clean(lead)}</p>\n{body}\n'
        "</body></html>\n",
        encoding="utf-8",
    )


def show(part: Part) -> str:
    """Return a part of the page as HTML."""
    caption = f'<p class="dim">{clean(part.caption)}</p>' if part.caption else ""
    match part:
        case Picture():
            body = show_plots(part)
        case Gallery():
            body = "".join(show_row(row, part.small) for row in part.rows)
        case Matrix():
            body = show_matrix(part)
        case Table():
            body = show_table(part)
    return f"<section><h2>{clean(part.title)}</h2>{caption}{body}</section>"


def embed(content: bytes) -> str:
    """Return a PNG as the source of an image."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def show_plots(part: Picture) -> str:
    """Return plots as HTML, each a part of the page, whose colours and font they take."""
    return f'<div class="plots">{"".join(map(show_plot, part.paths))}</div>'


def show_plot(path: Path) -> str:
    """Return an SVG file as HTML, without the names of its groups: other plots have the same."""
    drawn = path.read_text(encoding="utf-8").partition("<svg")[2]
    return f'<svg role="img" aria-label="{clean(path.stem)}"{re.sub(NAMED_GROUP, "", drawn)}'


def show_row(row: Row, small: bool) -> str:
    """Return a labelled row of small pictures as HTML."""
    label = f"<h3>{clean(row.label)}</h3>" if row.label else ""
    label += show_scale(row.scale) if row.scale else ""
    return f'{label}<div class="tiles{" small" if small else ""}">{"".join(map(show_tile, row.tiles))}</div>'


def show_scale(scale: Scale) -> str:
    """Return the colour bar of a row as HTML."""
    from .plots import colour  # matplotlib takes a second to import, and most pages have no scale

    ramp = np.linspace(0.0, 1.0, 128)[None].repeat(8, axis=0)
    content = io.BytesIO()
    Image.fromarray(colour(ramp, scale.colours)).save(content, "PNG")
    bar = f'<img alt="colours from low to high" src="{embed(content.getvalue())}">'
    return f'<p class="scale"><span>{clean(scale.low)}</span>{bar}<span>{clean(scale.high)}</span></p>'


def show_tile(tile: Tile) -> str:
    """Return a small picture as HTML, with its bytes embedded."""
    content = io.BytesIO()
    image = Image.fromarray(tile.pixels)
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    image.save(content, "PNG")
    lines = "".join(f"<span>{clean(line)}</span>" for line in tile.lines)
    caption = f"<figcaption>{lines}</figcaption>" if lines else ""
    return f'<figure><img alt="{clean(", ".join(tile.lines))}" src="{embed(content.getvalue())}">{caption}</figure>'


def show_matrix(part: Matrix) -> str:
    """Return a confusion matrix as an HTML table, shaded by the share of each true class."""
    heads = "".join(f'<th scope="col"><span>{show_name(name)}</span></th>' for name in part.columns)
    rows = "".join(
        f'<tr><th scope="row">{show_name(name)}</th>{"".join(show_count(count, sum(counts)) for count in counts)}</tr>'
        for name, counts in zip(part.rows, part.counts, strict=True)
    )
    table = f'<table class="matrix"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def show_name(name: str) -> str:
    """Return a name next to a matrix as HTML; a long one is shortened, and whole in its tooltip."""
    brief = shorten(name, MOST_LETTERS)
    return f"<bdi>{clean(name)}</bdi>" if brief == name else f'<bdi title="{clean(name)}">{clean(brief)}</bdi>'


def show_count(count: int, total: int) -> str:
    """Return a cell of a confusion matrix; zeros are left empty."""
    share = count / total if total else 0.0
    return f'<td style="background: rgba(var(--fill), {share * 0.6:.2f})">{count or ""}</td>'


def show_table(part: Table) -> str:
    """Return a table as HTML; rows beyond the first ones are folded away."""
    heads = "".join(f'<th class="whole">{clean(head)}</th>' for head in part.heads)
    head = f"<tr>{heads}</tr>" if heads else ""
    rows = [show_cells(row, "td" if part.heads else "th") for row in part.rows]
    foot = f"<tfoot>{show_cells(part.foot, 'td')}</tfoot>" if part.foot else ""
    shown = f'<table class="wide">{head}{"".join(rows[:MOST_ROWS])}{foot}</table>'
    if more := rows[MOST_ROWS:]:
        folded = f'<table class="wide">{head}{"".join(more)}</table>'
        shown += f"<details><summary>{len(more):,} more</summary>{folded}</details>"
    return f'<div class="scroll">{shown}</div>'


def show_cells(row: Sequence[Any], first: str) -> str:
    """Return a row of a table; short cells, such as numbers, are not wrapped."""
    shown = [f"<{first}>{clean(row[0])}</{first}>"]
    for value in row[1:]:
        kind = ' class="whole"' if len(str(value)) < 10 else ""
        shown.append(f"<td{kind}>{clean(value)}</td>")
    return f"<tr>{''.join(shown)}</tr>"


def clean(value: object) -> str:
    """Return a text as HTML, whatever characters a name of a class or a file has."""
    return escape(visible(str(value)))
