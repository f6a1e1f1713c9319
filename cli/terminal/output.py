"""Write a job's output to stdout; on a terminal, only safe sequences (cli/terminal/screen.py).

In a pipe or a file, intermediate updates of progress bars are dropped.
"""

import sys
from typing import BinaryIO

from cli.terminal.screen import Screen

MOST_BYTES = 1 << 16  # buffered of an unfinished line; binary output may have no line ends


class Output:
    """Writes chunks of a job's output to stdout.

    A progress bar rewrites its line after a carriage return. On a terminal this is passed on; in a file or a pipe only the
    final state of such a line is kept, unless `raw`.
    """

    def __init__(self, raw: bool = False, stream: BinaryIO | None = None, editing: bool = False) -> None:
        self.screen = Screen(editing) if sys.stdout.isatty() else None
        self.collapses = not raw and not self.screen
        self.stream = stream or sys.stdout.buffer
        self.held = b""
        self.last = b"\n"

    def write(self, chunk: bytes) -> None:
        """Write a chunk of bytes, which may not be text."""
        if self.collapses:
            lines, newline, self.held = (self.held + chunk).rpartition(b"\n")
            chunk, self.held = collapse(lines) + newline, collapse_line(self.held)
            if len(self.held) > MOST_BYTES:
                chunk, self.held = chunk + self.held, b""
        self.pass_on(chunk)

    def flush(self) -> None:
        """Write what is still buffered, at the end of the output."""
        held, self.held = self.held, b""
        self.pass_on(collapse(held), final=True)
        if self.screen and self.screen.ending:
            self.stream.write(self.screen.ending.encode())
            self.stream.flush()

    def pass_on(self, chunk: bytes, final: bool = False) -> None:
        """Write a chunk without buffering."""
        if self.screen:
            chunk = self.screen.show(chunk, final).encode(sys.stdout.encoding, "backslashreplace")
        if chunk:
            self.stream.write(chunk)
            self.stream.flush()
            self.last = chunk[-1:]

    @property
    def ends_a_line(self) -> bool:
        """Whether the output so far ends with a newline."""
        return self.last == b"\n"


def collapse(text: bytes) -> bytes:
    """Return lines without the text before each line's last carriage return."""
    if b"\r" not in text:
        return text
    return b"\n".join(collapse_line(line) if b"\r" in line else line for line in text.split(b"\n"))


def collapse_line(line: bytes) -> bytes:
    """Return a line as a terminal shows it so far; a trailing carriage return is kept."""
    ending = b"\r" if line.endswith(b"\r") else b""
    return line.removesuffix(b"\r").rpartition(b"\r")[2] + ending
