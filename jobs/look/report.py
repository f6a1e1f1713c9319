"""One page that holds all of it: no file beside it, no JavaScript, readable on a phone."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1d232a; --paper: #ffffff; --line: #d8dde3; --dim: #5b6673 }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebef; --paper: #14181d; --line: #343c46; --dim: #9aa6b2 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0.5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem }
.big { font-size: 2.6rem; font-weight: 700; margin: 0 } .dim { color: var(--dim); margin: 0.2rem 0 }
figure { margin: 0.5rem 0; overflow-x: auto } img { max-width: 100%; height: auto; background: #fff; border-radius: 6px }
figcaption { color: var(--dim); font-size: 0.9rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: 0.92rem }
td, th { text-align: left; padding: 0.3rem 0.6rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere }
th { font-weight: 600 }
"""


@dataclass(frozen=True)
class Picture:
    """A picture with what it is called and what it shows."""

    title: str
    caption: str
    path: Path


@dataclass(frozen=True)
class Table:
    """A table with its name and the heads of its columns; without heads the first column names the rows."""

    title: str
    rows: Sequence[Sequence[Any]]
    heads: Sequence[str] = ()


def write_report(path: Path, title: str, accuracy: float, lead: str, parts: Sequence[Picture | Table]) -> None:
    """Write the page."""
    body = "\n".join(show_picture(part) if isinstance(part, Picture) else show_table(part) for part in parts)
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="big">{accuracy:.2%}</p>\n<p class="dim">{escape(lead)}</p>\n{body}\n'
        "</body></html>\n",
        encoding="utf-8",
    )


def show_picture(part: Picture) -> str:
    """Return a picture as HTML, its bytes inside."""
    content = base64.b64encode(part.path.read_bytes()).decode()
    return (
        f"<h2>{escape(part.title)}</h2><figure>"
        f'<img alt="{escape(part.caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{escape(part.caption)}</figcaption></figure>"
    )


def show_table(part: Table) -> str:
    """Return a table as HTML."""
    heads = "".join(f"<th>{escape(head)}</th>" for head in part.heads)
    first = "td" if part.heads else "th"
    rows = "".join(
        f"<tr><{first}>{escape(str(row[0]))}</{first}>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row[1:])}</tr>"
        for row in part.rows
    )
    head = f"<tr>{heads}</tr>" if heads else ""
    return f'<h2>{escape(part.title)}</h2><div class="scroll"><table>{head}{rows}</table></div>'


def find_receipt(model: Path) -> Mapping[str, Any] | None:
    """Return the receipt of the job that made a model, where the file came home with one."""
    for folder in (model.parent, model.parent.parent, model.parent.parent.parent):
        if (folder / "receipt.json").is_file():
            try:
                found = json.loads((folder / "receipt.json").read_text())
            except ValueError:
                return None
            return found if isinstance(found, dict) else None
    return None
