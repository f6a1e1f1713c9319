"""Format help so that no line break splits a word or a suggested command."""

import re
from collections.abc import Iterable

import click

SPACE, HYPHEN = "\u00a0", "\u2011"
"""A space and a hyphen at which no line is broken; replaced again in the result."""
WHOLE = re.compile(r"\b(?:gpujob|python) (?:[a-z]|-m )\S*(?: (?:--?[\w-]+|[A-Z]+)\b)*")
"""A command."""


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
