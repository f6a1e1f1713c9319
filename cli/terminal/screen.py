"""What a terminal may see of a program's output: colours, and what progress bars need.

A terminal does more for whoever writes to it: it fills the clipboard, renames the window, answers questions as if they had been
typed, reports the mouse, erases what was scrolled away. None of that belongs into a log that is followed.
https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

import codecs
import re

HELD = 4096
"""How many characters may wait for the end of a sequence."""
# Escape sequences as ECMA-48 has them: those with parameters, those that take a text up to its end, all others.
SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)([ -/]*[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-Z\\^-~]"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c\r\n]*\x1b?|[ -/]*)?\Z")
# Up, down, right, left, next line, line before, column; erase the line or the screen below, above, all of it; colours.
ALLOWED = re.compile(r"[0-9;]*[ABCDEFGK]|[012]?J|[0-9;:]*m|\?25[hl]")
RESET = "\x1b[0m\x1b[?25h"


class Screen:
    """Takes a program's output as it comes, and returns what a terminal may see of it."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""
        self.styled = False

    def show(self, chunk: bytes, final: bool = False) -> str:
        """Return the next text; with `final`, when nothing more will come, also what was held back."""
        text = self.held + self.decoder.decode(chunk, final)
        self.held = ""
        unfinished = UNFINISHED.search(text, max(len(text) - HELD, 0))
        if unfinished and not final:
            text, self.held = text[: unfinished.start()], unfinished[0]
        return SEQUENCE.sub(self.keep, text)

    @property
    def ending(self) -> str:
        """What leaves the terminal as it was: without colours, with a cursor."""
        return RESET if self.styled else ""

    def keep(self, found: re.Match[str]) -> str:
        """Return a sequence if it is one of those that are allowed, else nothing."""
        if found[2] is None or not ALLOWED.fullmatch(found[1] + found[2]):
            return ""
        self.styled = True
        return found[0]
