"""Wrap help and messages without splitting a word or a suggested command; link paths and pages."""

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import click

SPACE, HYPHEN = "\u00a0", "\u2011"
"""A space and a hyphen at which no line is broken; replaced again in the result."""
WHOLE = re.compile(r"\b(?:gpujob|python) (?:[a-z]|-m )\S*(?: (?:--?[\w-]+|[A-Z]+)\b)*")
"""A command in help."""
TYPED = re.compile(
    r"\b[a-z]+ = \[[^\]]*\]|\b(?:gpujob|aws|export|cd|rm|pip|uv) [^\s;,.)](?:[^;]*?)(?=  |, | \(|[.)](?:\s|$)|;|$)"
)
"""A command in a message, or a line of gpujob.toml."""
LINKING_PROGRAMS = ("Hyper", "WezTerm", "ghostty", "iTerm.app", "terminology", "vscode", "zed")
LINKING_TERMS = ("alacritty", "foot", "xterm-ghostty", "xterm-kitty")
VTE_LINKING = 5000
FOLDED = 16
"""The narrowest column, or terminal, in which lines are broken."""


class HelpFormatter(click.HelpFormatter):
    """Formats help with unbroken words and commands."""

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(protect(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of names and descriptions."""
        super().write_dl([(first, protect(second)) for first, second in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        """Return the text."""
        return super().getvalue().replace(SPACE, " ").replace(HYPHEN, "-")


def protect(text: str) -> str:
    """Return a text in which lines are broken neither at hyphens nor within commands."""
    return WHOLE.sub(lambda found: found[0].replace(" ", SPACE), text).replace("-", HYPHEN)


def find_width(stream: TextIO) -> int:
    """Return the width of a stream's terminal, or $COLUMNS; sys.maxsize without a terminal."""
    if not stream.isatty():
        return sys.maxsize
    with suppress(ValueError):
        return int(os.environ.get("COLUMNS", "")) or sys.maxsize
    try:
        return os.get_terminal_size(stream.fileno()).columns or sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize


def fold(text: str, width: int) -> str:
    """Return a message with its long lines broken, the rest of each indented by two more columns."""
    return "\n".join(part for line in text.split("\n") for part in fold_line(line, width))


def fold_line(line: str, width: int) -> list[str]:
    """Return a line of a message as lines; a longer command is left to the terminal to wrap."""
    if len(line) <= width or width < FOLDED:
        return [line]
    margin = " " * (len(line) - len(line.lstrip()) + 2)
    whole = TYPED.sub(lambda found: found[0].replace(" ", SPACE), line)
    return [part.replace(SPACE, " ") for part in wrap(whole, width, margin)]


def wrap(line: str, width: int, margin: str = "") -> list[str]:
    """Return a line wrapped between words, from the second on with a margin; longer words are kept whole."""
    return textwrap.wrap(
        line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False, expand_tabs=False
    ) or [""]


def can_link(stream: TextIO) -> bool:
    """Return whether a stream is a terminal known to show hyperlinks; FORCE_HYPERLINK decides for any.

    The variables are those that cargo looks at. NO_COLOR is about colours only.
    https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda
    """
    given = os.environ
    if not stream.isatty() or given.get("TERM") == "dumb":
        return False
    if force := given.get("FORCE_HYPERLINK"):
        return force != "0"
    version = given.get("VTE_VERSION", "")
    return (
        (version.isdecimal() and int(version) >= VTE_LINKING)
        or given.get("TERM_PROGRAM") in LINKING_PROGRAMS
        or given.get("TERM", "").startswith(LINKING_TERMS)
        or any(name in given for name in ("DOMTERM", "KONSOLE_VERSION", "WT_SESSION"))
    )


def add_links(text: str, targets: Sequence[Path | str]) -> str:
    """Return a text in which each mention of these paths and addresses is a hyperlink (OSC 8)."""
    for target in targets:
        if address := address_of(target):
            text = text.replace(str(target), f"\x1b]8;;{address}\x1b\\{target}\x1b]8;;\x1b\\")
    return text


def address_of(target: Path | str) -> str:
    """Return the address of a path or page; "" if it contains anything but printable ASCII."""
    address = target.absolute().as_uri() if isinstance(target, Path) else target
    return address if address.isascii() and address.isprintable() else ""
