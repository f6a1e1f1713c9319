"""A job's output on its way to the reader; a terminal gets what is safe (cli/terminal/screen.py).

Elsewhere (a pipe, a file) only the steps of progress bars are left out.
"""

import sys
from typing import BinaryIO

from cli.terminal.screen import Screen

MOST_BYTES = 1 << 16  # of a line that has not ended, which may be no line at all


class Output:
    """Writes what comes to standard output.

    A progress bar goes back to the start of its line (a carriage return) and writes it anew. A terminal shows that; in a file
    or a pipe of each such line only what was written last is kept; there, `raw` keeps everything.
    """

    def __init__(self, raw: bool = False, stream: BinaryIO | None = None) -> None:
        self.screen = Screen() if sys.stdout.isatty() else None
        self.collapses = not raw and not self.screen
        self.stream = stream or sys.stdout.buffer
        self.held = b""
        self.last = b"\n"

    def write(self, chunk: bytes) -> None:
        """Pass bytes on: a job may print what is no text."""
        if self.collapses:
            lines, newline, self.held = (self.held + chunk).rpartition(b"\n")
            chunk = collapse(lines) + newline
            if len(self.held) > MOST_BYTES:
                chunk, self.held = chunk + self.held, b""
        self.pass_on(chunk)

    def flush(self) -> None:
        """Pass on what was held back: nothing more will come."""
        held, self.held = self.held, b""
        self.pass_on(collapse(held), final=True)
        if self.screen and self.screen.ending:
            self.stream.write(self.screen.ending.encode())
            self.stream.flush()

    def pass_on(self, chunk: bytes, final: bool = False) -> None:
        """Write it now."""
        if self.screen:
            chunk = self.screen.show(chunk, final).encode(sys.stdout.encoding, "backslashreplace")
        if chunk:
            self.stream.write(chunk)
            self.stream.flush()
            self.last = chunk[-1:]

    @property
    def ends_a_line(self) -> bool:
        """Whether what comes next on the screen starts at the left."""
        return self.last == b"\n"


def collapse(text: bytes) -> bytes:
    """Return lines of text, each without what it showed before its last carriage return."""
    if b"\r" not in text:
        return text
    return b"\n".join(collapse_line(line) if b"\r" in line else line for line in text.split(b"\n"))


def collapse_line(line: bytes) -> bytes:
    """Return what a terminal would show of a line in the end; a carriage return at its end is kept."""
    ending = b"\r" if line.endswith(b"\r") else b""
    return line.removesuffix(b"\r").rpartition(b"\r")[2] + ending
