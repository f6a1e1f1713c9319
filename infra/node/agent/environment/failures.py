"""Filter an installer's output: progress for the log, and the few lines that explain a failure."""

from __future__ import annotations

import re
import textwrap
from typing import BinaryIO, Iterable

LEAST_CHARACTERS = 4  # a shorter value would be masked where it occurs by chance
PROGRESS = re.compile(
    rb"( [+~-] |(Resolved|Prepared|Installed|Uninstalled|Audited|Downloading|Downloaded|Building|Built|Updating|"
    rb"Updated|Would|Creating|Collecting|Preparing|Verifying|Executing|Transaction) )"
)
CREDENTIALS = re.compile(rb"(?<=://)(?!git@)[^/@\s]+(?=@)")
FRAME = re.compile(r"^[\s\u00d7\u2570\u251c\u2500\u25b6\u2502|]+")
NOISE = re.compile(
    r"(hint: )?(This (error|usually|is likely)|An internal error occurred|note: This|\[(stdout|stderr)\]|error: subprocess-|"
    r"Using Python|Traceback|File \"|\^+$|During handling|The above exception|warning: )"
)
BUILD = re.compile(
    r"(?:Failed to (?:build|download and build|prepare|fetch)[^`]*|Failed to resolve dependencies for )`([^`]+)`"
)
BACKEND = "build backend returned an error"
REASON = re.compile(r"(\b\w*(Error|Exception)\b|error|fatal|Could not|cannot|not found|No such)", re.IGNORECASE)
WIDTH, MOST_LINES = 110, 3


class Report:
    """The output of one program: progress is written at once, the rest held back; credentials are masked."""

    def __init__(self, log: BinaryIO | None, secrets: Iterable[str]) -> None:
        """Write progress to `log`, or hold everything back without one."""
        self.log = log
        self.secrets = [value.encode("utf-8", "surrogateescape") for value in secrets if len(value) >= LEAST_CHARACTERS]
        self.progress: list[bytes] = []
        self.held: list[bytes] = []

    @property
    def text(self) -> str:
        """The output held back so far."""
        return b"".join(self.held).decode("utf-8", "replace")

    def write(self, line: bytes) -> int:
        """Process one line."""
        shown = CREDENTIALS.sub(b"***", line)
        for secret in self.secrets:
            shown = shown.replace(secret, b"***")
        is_progress = PROGRESS.match(shown)
        (self.progress if is_progress else self.held).append(shown)
        if self.log and is_progress:
            self.log.write(shown)
        return len(line)

    def flush(self) -> None:
        """Flush the log."""
        if self.log:
            self.log.flush()

    def replay(self, log: BinaryIO) -> None:
        """Write the progress of a program that succeeded."""
        log.write(b"".join(self.progress))
        log.flush()


def explain(text: str) -> list[str]:
    """Return the reason of a failure in at most three lines."""
    lines = [FRAME.sub("", line).rstrip() for line in text.splitlines()]
    lines = [line[7:] if line.startswith("cause: ") else line for line in lines if line and not NOISE.match(line)]
    built = BUILD.search(text)
    if "No solution found" in text or "are unsatisfiable" in text:
        start = next((n for n, line in enumerate(lines) if "No solution found" in line), -1) + 1
        said = " ".join(lines[start:])
    elif built or BACKEND in text:
        verb = "built" if BACKEND in text or (built and "build" in built[0]) else "fetched"
        said = f"{built[1] if built else 'the project'} could not be {verb}: {find_reason(lines)}"
    else:
        said = " ".join(line[7:] if line.startswith("error: ") else line for line in lines)
    wrapped = textwrap.wrap(
        " ".join(said.split()), WIDTH, max_lines=MOST_LINES, placeholder=" ...", break_on_hyphens=False
    )
    return wrapped or ["it failed without saying why"]


def find_reason(lines: list[str]) -> str:
    """Return the most informative line of a failed build: the last that names an error."""
    useful = [line for line in lines if not BUILD.search(line) and not line.startswith("hint: ")]
    errors = [
        line for line in useful if REASON.search(line) and not line.startswith(("The build backend", "Call to `"))
    ]
    return (errors or useful or ["its build failed"])[-1]
