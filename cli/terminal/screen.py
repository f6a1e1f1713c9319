"""Filter a program's output for a terminal: keep colours and what progress bars need.

Other escape sequences write to the clipboard, rename the window, inject input, report the mouse or erase the scrollback.
None of them belongs in the output of a job.
https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

import codecs
import re

HELD = 4096
"""Maximum length of an unfinished sequence that is held back."""
# Escape sequences of ECMA-48: control sequences with parameters, strings with a terminator, all others.
SEQUENCE = re.compile(
    r"\x1b\[([0-?]*)([ -/]*[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-Z\\^-~]"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c\r\n]*\x1b?|[ -/]*)?\Z")
# Up, down, right, left, next line, line before, column; erase the line or the screen below, above, all of it; colours.
ALLOWED = re.compile(r"[0-9;]*[ABCDEFGK]|[012]?J|[0-9;:]*m|\?25[hl]")
# Also insert, delete and erase characters, as readline does.
EDITING = re.compile(rf"{ALLOWED.pattern}|[0-9]*[@PX]")
RESET = "\x1b[0m\x1b[?25h"


class Screen:
    """Filters a program's output chunk by chunk."""

    def __init__(self, editing: bool = False) -> None:
        """Start filtering; for a program with input, also keep sequences that edit a line."""
        self.allowed = EDITING if editing else ALLOWED
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""
        self.styled = False

    def show(self, chunk: bytes, final: bool = False) -> str:
        """Return the next filtered text; with `final`, also what was held back."""
        text = self.held + self.decoder.decode(chunk, final)
        self.held = ""
        unfinished = UNFINISHED.search(text, max(len(text) - HELD, 0))
        if unfinished and not final:
            text, self.held = text[: unfinished.start()], unfinished[0]
        return SEQUENCE.sub(self.keep, text)

    @property
    def ending(self) -> str:
        """The sequence that resets colours and shows the cursor, if needed."""
        return RESET if self.styled else ""

    def keep(self, found: re.Match[str]) -> str:
        """Return an escape sequence if it is allowed, otherwise ""."""
        if found[2] is None or not self.allowed.fullmatch(found[1] + found[2]):
            return ""
        self.styled = True
        return found[0]
