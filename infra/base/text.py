"""Untrusted text (from a node, a tag, a server, another project), made safe to show.

A terminal obeys control characters from any source: they write to the clipboard, rename the window, overwrite earlier output.
Bidirectional control characters disguise text: https://trojansource.codes
"""

import re

MOST_CHARACTERS = 500
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    r"""Return the text with control and bidirectional characters escaped: \x1b, \n, \u202e."""
    if text.isprintable():  # control, format and surrogate characters are not
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def one_line(text: str | bytes, most: int = MOST_CHARACTERS) -> str:
    """Return untrusted text as one printable line without colours, shortened to `most` characters."""
    if isinstance(text, bytes):
        text = text[: most * 8].decode(errors="replace")
    line = printable(" ".join(COLOUR.sub("", text[: most * 8]).split()))
    return line if len(line) <= most else line[: most - 3] + "..."


def last_line(text: bytes, most: int = MOST_CHARACTERS) -> str:
    """Return the last line of a program's error output, which says why it failed."""
    lines = text[-most * 8 :].decode(errors="replace").splitlines()
    return one_line(next((line for line in reversed(lines) if line.strip()), ""), most)
