"""Wrap help and messages without splitting a word or a suggested command."""

import os
import re
import sys
import textwrap
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

import click

SPACE, HYPHEN = "\u00a0", "\u2011"
"""A space and a hyphen at which no line is broken; replaced again in the result."""
WHOLE = re.compile(r"\b(?:gpujob|python) (?:[a-z]|-m )\S*(?: (?:--?[\w-]+|[A-Z]+)\b)*")
"""A command in help."""
TYPED = re.compile(r"\b(?:gpujob|aws|export|cd|rm|pip|uv) [^\s;,.)](?:[^;]*?)(?=  |, | \(|[.)](?:\s|$)|;|$)")
"""A command in a message."""
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
