"""Text from elsewhere (a node, a tag, a server, somebody else's project), made safe to show.

A terminal obeys control characters wherever they come from: they write to the clipboard, rename the window, overwrite what was
said before. Marks that turn the direction of writing around make one thing read as another: https://trojansource.codes
"""

import re

MOST_CHARACTERS = 500
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    r"""Return a text with whatever would steer the terminal or reorder the line spelled out: \x1b, \n, \u202e."""
    if text.isprintable():  # control, format and surrogate characters are not
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def one_line(text: str | bytes, most: int = MOST_CHARACTERS) -> str:
    """Return a text from elsewhere as one printable line without colours, of at most so many characters."""
    if isinstance(text, bytes):
        text = text[: most * 8].decode(errors="replace")
    line = printable(" ".join(COLOUR.sub("", text[: most * 8]).split()))
    return line if len(line) <= most else line[: most - 3] + "..."


def last_line(text: bytes, most: int = MOST_CHARACTERS) -> str:
    """Return the last line of what a program complained of, which is the one that says why."""
    lines = text[-most * 8 :].decode(errors="replace").splitlines()
    return one_line(next((line for line in reversed(lines) if line.strip()), ""), most)
