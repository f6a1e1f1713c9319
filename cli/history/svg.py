"""Parts of the page of all runs: texts, links, and the frame and the coordinates of a chart."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from cli.terminal.show import Linked
from infra.base.text import printable

WIDTH, HEIGHT, LEFT, EDGE = 480, 220, 64, 12


def clean(text: str) -> str:
    """Return a text for HTML."""
    return escape(printable(" ".join(text.split())))


def link(value: str, above: str = "") -> str:
    """Return a value for HTML; one that leads to a folder, which is in `above`, is a link to it."""
    target = value.target if isinstance(value, Linked) else ""
    return f'<a href="{above}{quote(target.name)}/">{clean(value)}</a>' if isinstance(target, Path) else clean(value)


def start_chart(title: str, low: float, high: float, below: int = 0) -> Iterator[str]:
    """Yield the start of a chart: its axes, lowest and highest value, and room below for labels."""
    yield f'<figure><figcaption>{clean(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT + below}" role="img">'
    yield f"<title>{clean(title)}</title>"
    yield f'<path class="axis" d="M{LEFT} {EDGE}V{HEIGHT - EDGE}H{WIDTH - EDGE}"/>'
    yield f'<text x="0" y="{EDGE + 4}">{high:.4g}</text><text x="0" y="{HEIGHT - EDGE}">{low:.4g}</text>'


def place(across: float, value: float, low: float, high: float) -> str:
    """Return the coordinates of a value, between 0 and 1 of the way across: x,y."""
    # halved, because the difference of two large numbers may not be finite
    span = high / 2 - low / 2
    up = (value / 2 - low / 2) / span if span else 0.5
    return f"{LEFT + across * (WIDTH - EDGE - LEFT):.1f},{HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE):.1f}"
