"""The uploaded files of a project, from which manifests are read."""

import codecs
import posixpath
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UsageError

# The longer marks first: that of UTF-32 begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CODING = re.compile(rb"^[^\n]*#.*?coding[:=]\s*([-\w.]+)[^\n]*$", re.MULTILINE)
NO_DEPS = "fix it, or run with --no-deps"


@dataclass(frozen=True)
class Sources:
    """The files of a project that a job will have, by their paths from its root."""

    root: Path
    names: frozenset[str]

    def has(self, name: str) -> bool:
        """Return whether this file is uploaded."""
        return name in self.names

    def read(self, name: str) -> str:
        """Return a file's text; raises UsageError if it cannot be read."""
        try:
            return decode_text((self.root / name).read_bytes())
        except (OSError, ValueError, LookupError) as error:
            raise UsageError(f"cannot read {name}: {error}", NO_DEPS) from error

    def toml(self, name: str) -> dict[str, Any]:
        """Return a parsed TOML file, {} if there is none; raises UsageError if it is invalid."""
        if not self.has(name):
            return {}
        try:
            return tomllib.loads(self.read(name).replace("\r\n", "\n"))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name} is not valid TOML: {error}", NO_DEPS) from error

    def inside(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, without those in its subfolders."""
        start = "" if folder == "." else f"{folder}/"
        rest = (name[len(start) :] for name in self.names if name.startswith(start))
        return sorted(name for name in rest if "/" not in name)

    def has_folder(self, folder: str) -> bool:
        """Return whether a file in this folder, or below it, is uploaded."""
        return folder == "." or any(name.startswith(f"{folder}/") for name in self.names)


def decode_text(content: bytes) -> str:
    """Decode a file as pip does: by its byte order mark or coding comment, otherwise as UTF-8."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding)
    coding = CODING.match(b"\n".join(content.splitlines()[:2]))
    return content.decode(coding[1].decode("ascii") if coding else "utf-8")


def join(folder: str, name: str) -> str:
    """Return the path from the project's root of a file that is named from a folder."""
    return posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))


def above(folder: str) -> Iterator[str]:
    """Yield a folder and those above it, up to the project's root."""
    while folder not in ("", "."):
        yield folder
        folder = posixpath.dirname(folder)
    yield "."
