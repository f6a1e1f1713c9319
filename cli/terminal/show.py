"""Print messages to stderr and listings to stdout; in colour on a terminal, unless NO_COLOR is set.

Everything except a job's own output (cli/terminal/output.py) is printed by this module, with control characters from
names, tags and responses escaped.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.terminal.lines import FOLDED, add_links, address_of, can_link, find_width, fold, wrap
from infra.base.text import printable as printable  # re-exported for the commands

Row = Mapping[str, Any]
Links = Sequence[Path | str]


class Linked(str):
    """A text in a listing that can be clicked on a terminal."""

    __slots__ = ("target",)
    target: Path | str

    def __new__(cls, text: str, target: Path | str) -> "Linked":
        """Return a text with what it leads to."""
        linked = super().__new__(cls, text)
        linked.target = target
        return linked


COMPLETE = "gpujob.complete"
"""Where the context of a command has a function that completes the commands that a message suggests."""
STATES = {
    **dict.fromkeys(("running", "succeeded", "ok", "passed"), "green"),
    **dict.fromkeys(("queued", "pending", "stalled", "stopping", "shutting-down", "preempted"), "yellow"),
    **dict.fromkeys(("failed", "interrupted", "no"), "red"),
}
"""Colours of states on a terminal."""
STATE_COLUMNS = frozenset({"state", "status"})


def say(text: str = "", colour: str | None = None, links: Links = (), *, err: bool = True) -> None:
    """Print a message to stderr, or to stdout, wrapped on a terminal; `links` can be clicked."""
    width = find_width(sys.stderr if err else sys.stdout)
    echo(fold(plain(complete(text)), width), err=err, colour=colour, links=links)


def complete(text: str) -> str:
    """Return a message whose suggested commands keep what was typed, such as --profile."""
    context = click.get_current_context(silent=True) if "gpujob " in text else None
    change = context.meta.get(COMPLETE) if context else None
    return change(text) if change else text


def echo(text: str, err: bool = False, colour: str | None = None, links: Links = ()) -> None:
    """Print lines with control characters escaped; `links` in them can be clicked."""
    shown = plain(text)
    if links and can_link(sys.stderr if err else sys.stdout):
        shown = add_links(shown, links)
    plain_only = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(click.style(shown, fg=colour) if colour and not plain_only else shown, err=err)


def question(text: str) -> None:
    """Print a prompt on stderr, without a newline."""
    click.secho(plain(text), err=True, nl=False)


def ring() -> None:
    """Ring the terminal's bell."""
    if sys.stderr.isatty():
        click.echo("\a", err=True, nl=False)


def plain(text: str) -> str:
    """Return text with control characters escaped, except tabs and newlines."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def echo_json(data: Any) -> None:
    """Print data as JSON, which escapes control characters."""
    echo(json.dumps(data, indent=2))


def listing(
    rows: Sequence[Row], as_json: bool, data: Any = None, empty: str = "", droppable: Sequence[str] = ()
) -> None:
    """Show rows as a table on a terminal, as tab-separated lines otherwise, or as JSON with `as_json`.

    JSON shows `data`, by default the rows. A narrow terminal hides the `droppable` columns, in order.
    """
    shown = [{name: printable(" ".join(str(value).split())) for name, value in row.items()} for row in rows]
    if as_json:
        echo_json(rows if data is None else data)
    elif not rows:
        say(empty)
    elif sys.stdout.isatty():
        table(shown, droppable, [list_links(row) for row in rows] if can_link(sys.stdout) else [])
    else:
        echo("\n".join("\t".join(cells) for cells in ([*rows[0]], *([*row.values()] for row in shown))))


def list_links(row: Row) -> dict[str, str]:
    """Return the addresses of a row's linked texts."""
    found = {name: address_of(value.target) for name, value in row.items() if isinstance(value, Linked)}
    return {name: address for name, address in found.items() if address}


def table(rows: Sequence[Row], droppable: Sequence[str], links: Sequence[Mapping[str, str]] = ()) -> None:
    """Print a table that fits the terminal, wrapping headings and long cells if needed.

    `links` has the addresses of each row's cells.
    """
    # imported only when drawing on a terminal
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.style import Style
    from rich.table import Table
    from rich.text import Text

    console = Console()
    longest = {name: max(cell_len(row[name]) for row in rows) for name in rows[0]}
    if sum(max(longest[name], len(name)) + 2 for name in longest) > console.width:  # then empty columns are left out
        longest = {name: width for name, width in longest.items() if width} or longest
    needed = {name: max(min(width, FOLDED), *map(len, name.split(" "))) for name, width in longest.items()}
    first = next(iter(longest))  # its words are never folded
    needed[first] = max(len(first), *(cell_len(word) for row in rows for word in row[first].split() or [""]))
    hidden = []
    for name in droppable:
        if sum(needed.values()) + 2 * len(needed) <= console.width:
            break
        if needed.pop(name, None):
            hidden.append(name)
    whole = sum(max(longest[name], len(name)) for name in needed) + 2 * len(needed)
    scrolls = len(rows) > console.height - 6  # then the headings are repeated below
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_footer=scrolls)
    for name, width in needed.items():
        fixed = whole > console.width and longest[name] <= width
        grid.add_column(name, name, overflow="fold", width=width if fixed else None)
    for row, linked in zip(rows, links or [{}] * len(rows), strict=True):
        cells = {name: Text(row[name], STATES.get(row[name], "") * (name in STATE_COLUMNS)) for name in needed}
        for name in linked.keys() & cells.keys():
            cells[name].stylize(Style(link=linked[name]))
        grid.add_row(*cells.values())
    console.print(grid)
    if hidden:
        say(f"(hidden columns: {', '.join(hidden)}; widen the terminal or use --json)")


def facts(pairs: Mapping[str, str], err: bool = True) -> None:
    """Print names and values in two columns; on a terminal, long values are wrapped."""
    pairs = {printable(name): value for name, value in pairs.items()}
    indent = max(map(len, pairs)) + 4
    stream = sys.stderr if err else sys.stdout
    room = max(find_width(stream) - indent, FOLDED)
    for name, value in pairs.items():
        lines = [part for line in plain(value).split("\n") for part in wrap(line, room)]
        echo(f"  {name}".ljust(indent) + f"\n{' ' * indent}".join(lines), err=err)
