"""Masking: what a job prints goes into its log without the values that are secret."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

MASKED = b"***"
LINE_CHARACTERS = 8  # of a secret of several lines, as a key is, each line of at least so many is masked by itself, too
CHUNK_BYTES = 1 << 16


class Mask:
    """Takes what is printed piece by piece and gives it back without the secrets, also where one lies across two pieces."""

    def __init__(self, secrets: list[str]) -> None:
        """Hide each of these."""
        lines = [line for secret in secrets for line in secret.splitlines() if len(line) >= LINE_CHARACTERS]
        values = {text.encode("utf-8", "surrogateescape") for text in [*secrets, *lines] if text}
        self.values = sorted(values, key=len, reverse=True)
        self.pattern = re.compile(b"|".join(map(re.escape, self.values)))
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is safe to show; an end that may be the beginning of a secret is held back until more has come."""
        text = self.held + data
        longest = len(self.values[0])
        starts = range(max(len(text) - longest + 1, 0), len(text))
        cut = next((at for at in starts if any(value.startswith(text[at:]) for value in self.values)), len(text))
        for found in self.pattern.finditer(text):
            if found.start() < cut < found.end():
                cut = found.start()
        self.held = text[cut:]
        return self.pattern.sub(MASKED, text[:cut])

    def flush(self) -> bytes:
        """Return what was held back: nothing more will come."""
        text, self.held = self.held, b""
        return self.pattern.sub(MASKED, text)


def pour(source: int, log: Path, mask: Mask) -> None:
    """Append all that comes from a pipe to the log, masked; a log that cannot be written must not stop the job."""
    with log.open("ab", buffering=0) as file:
        while True:
            data = os.read(source, CHUNK_BYTES)
            with contextlib.suppress(OSError):
                file.write(mask.feed(data) if data else mask.flush())
            if not data:
                return
