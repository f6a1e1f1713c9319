"""One installation: what to install where, the programs that do it, and reports of their failures."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .environments import Base
from .failures import Report, explain
from .uv import DependenciesError, say, stream

FIX = "fix the file, or run with --no-deps"


class Installation(NamedTuple):
    """What to install (the client's `Dependencies`), for which project, on which base, into which folder."""

    project: Path
    plan: dict[str, Any]
    base: Base
    folder: Path
    log: BinaryIO
    lock: int
    variables: dict[str, str]
    """Variables that the manifest may refer to; their values are masked in the log."""

    @property
    def name(self) -> str:
        """The manifest as shown to the user."""
        return str(self.plan["manifest"])

    @property
    def python(self) -> str:
        """The new environment's interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def site(self) -> Path:
        """The new environment's packages."""
        return next(self.folder.glob("lib/python*/site-packages"))

    @property
    def cwd(self) -> Path:
        """The folder that uv runs in, and whose settings it reads."""
        return self.project / str(self.plan["folder"])


def attempt(what: Installation, words: list[str], given: bytes = b"", *, quiet: bool = False) -> tuple[int, Report]:
    """Run a program; return its exit code and output; progress goes to the log unless it is quiet."""
    report = Report(None if quiet else what.log, what.variables.values())
    return stream(words, report, what.lock, what.cwd, given, what.variables), report


def run(what: Installation, words: list[str], given: bytes = b"") -> Report:
    """Run a program; if it fails, log the reason and raise DependenciesError."""
    code, report = attempt(what, words, given)
    if code:
        refuse(what, report.text, os.path.basename(words[0]))  # noqa: PTH119
    return report


def run_offline_first(what: Installation, words: list[str], given: bytes = b"") -> None:
    """Run uv without a network, as its cache is often enough, and only if that fails with one."""
    code, report = attempt(what, [*words, "--offline"], given, quiet=True)
    if code:
        run(what, words, given)
    else:
        report.replay(what.log)


def refuse(what: Installation, text: str, program: str) -> None:
    """Log why a program failed; raises DependenciesError."""
    python = f"Python {what.base.version.split()[0]} on {platform.machine()}"
    say(what.log, f"cannot install the dependencies from {what.name} ({python}):")
    for line in explain(text):
        what.log.write(f"  {line}\n".encode("utf-8", "surrogateescape"))
    what.log.flush()
    raise DependenciesError(
        f"{program} could not install the dependencies from {what.name}; see the lines above; {FIX}"
    )
