"""Mask secret values in a job's output before it reaches the log."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
from pathlib import Path
from typing import BinaryIO, Iterator
from urllib.parse import quote, quote_plus

from .matching import SHORT_BYTES, Matcher

MASKED = b"***"
# Shorter values occur by chance: masking them would garble the log and reveal the value by its gaps.
LEAST_CHARACTERS = SHORT_BYTES
LINE_CHARACTERS = 8  # lines of a multi-line secret (such as a key) of at least this length are masked individually
ENCODED_CHARACTERS = 8  # of a base64 value, whose first and last letters depend on its neighbours
CHUNK_BYTES = 1 << 16


def maskable(secrets: list[str]) -> list[str]:
    """Return the secrets that are long enough to mask."""
    return [secret for secret in secrets if len(secret) >= LEAST_CHARACTERS]


def forms(secret: str) -> Iterator[bytes]:
    """Yield the forms in which a value may be printed: plain, quoted, hex and base64.

    Quoting as in Python, JSON, shells, URLs and HTML.
    """
    raw = secret.encode("utf-8", "surrogateescape")
    yield from (raw, raw.strip(), repr(raw)[2:-1].encode(), raw.hex().encode(), raw.hex().upper().encode())
    texts = (repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for text in (*texts, re.sub("^'|'$", "", shlex.quote(secret)), html.escape(secret)):
        yield text.encode("utf-8", "surrogateescape")
    for text in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield text.encode()
    for before in range(3):  # the value may start at any offset of the encoded text, for example after "user:"
        encoded = base64.b64encode(b"\0" * before + raw)[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(encoded) >= ENCODED_CHARACTERS:
            yield from (encoded, encoded.translate(bytes.maketrans(b"+/", b"-_")))


class Mask:
    """Filter a stream piece by piece, even if a secret spans two pieces."""

    def __init__(self, secrets: list[str]) -> None:
        """Mask each of these values that is long enough, in all its forms."""
        hidden = maskable(secrets)
        values = {form for secret in hidden for form in forms(secret) if len(form) >= LEAST_CHARACTERS}
        lines = (line for secret in hidden for line in secret.splitlines() if len(line) >= LINE_CHARACTERS)
        values.update(line.encode("utf-8", "surrogateescape") for line in lines)
        self.matcher = Matcher(values)
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what is safe to print; hold back an end that may be the start of a secret."""
        text = self.held + data
        found, certain = self.matcher.find(text)
        self.held = text[certain:]
        return cover(text[:certain], found)

    def flush(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        text, self.held = self.held, b""
        return cover(text, self.matcher.find(text, final=True)[0])


def cover(text: bytes, found: list[tuple[int, int]]) -> bytes:
    """Return a text with the values found in it masked."""
    if not found:
        return text
    edges = [0, *(edge for each in found for edge in each), len(text)]
    return MASKED.join(text[start:end] for start, end in zip(edges[::2], edges[1::2]))


def pour(source: int, log: Path, mask: Mask) -> None:
    """Copy a pipe or a terminal to the log, masked; a failure to write must not stop the job."""
    with log.open("ab", buffering=0) as file:
        missing = 0
        while True:
            data = read_some(source)
            missing = put(file, mask.feed(data) if data else mask.flush(), missing)
            if not data:
                return


def put(file: BinaryIO, text: bytes, missing: int) -> int:
    """Write to a log that misses so many bytes, as the disk was full; return how many it misses then."""
    note = b"\ngpujob: %d bytes of output are missing here, because the disk was full\n" % missing if missing else b""
    try:
        written = file.write(note + text) - len(note)
    except OSError:
        return missing + len(text)
    return len(text) - written if written >= 0 else missing + len(text)


def read_some(source: int) -> bytes:
    """Read from a pipe or a terminal; empty at the end."""
    try:
        return os.read(source, CHUNK_BYTES)
    except OSError:  # EIO: no process has the terminal open any more
        return b""
