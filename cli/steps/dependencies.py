"""Report what is installed for a job, and what to add when a module is missing."""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import show
from infra.dependencies.names import describe_addition
from infra.dependencies.search import LOOKED_FOR
from infra.errors import NodeError
from infra.node import client

if TYPE_CHECKING:
    from infra.model import Dependencies, Job
    from infra.ssh.connection import Connection

MISSING = re.compile(r"^(?:\[rank\d+\]: ?)?ModuleNotFoundError: No module named '([\w.]{1,200})'", re.MULTILINE)
LINES, CHUNKS = 80, 100  # a traceback is followed by what torchrun prints of its own
PYTHON = ("python", "python3", "torchrun", "accelerate", "deepspeed", "gpujob")


def show_dependencies(dependencies: "Dependencies | None", command: Sequence[str]) -> None:
    """Report which manifest was read; for a job in Python, also that there is none."""
    if dependencies is not None:
        show.say(f"dependencies: {dependencies.manifest}")
        for note in dependencies.notes:
            show.say(f"  {note}")
    elif command[0] in PYTHON:
        show.say(f"no dependencies found (looked for {LOOKED_FOR})")


def explain_missing_module(connection: "Connection", job: "Job") -> None:
    """If a job failed for lack of a module, say which manifest was used and how to add the module."""
    if job.state != "failed":
        return
    with suppress(NodeError):
        start = client.find_tail(connection, job.number, LINES)
        log = b"".join(islice(client.read_log(connection, job.number, start, follow=False), CHUNKS))
        if found := MISSING.search(log.decode(errors="replace")):
            show.say(describe_missing(found[1], job))


def describe_missing(module: str, job: "Job") -> str:
    """Return what a user needs to know about a missing module."""
    if folder := find_inside(module, job):
        return f"'{module}' is in {folder} of the project, where Python did not look: --env PYTHONPATH={folder}"
    options = job.source.get("options")
    if isinstance(options, dict) and options.get("no_deps"):
        return f"'{module}' is not installed, and the job ran with --no-deps: leave that out"
    manifest = str(job.source.get("manifest") or "")
    used = f"dependencies were from {manifest}" if manifest else "no dependencies were found"
    return f"'{module}' is not installed ({used})\n  {describe_addition(module, manifest)}"


def find_inside(module: str, job: "Job") -> str:
    """Return the folder of the project that a module is in; "" if it is not there."""
    root, name = Path(str(job.source.get("project") or "/nonexistent")), module.split(".")[0]
    with suppress(OSError):
        for folder in (".", "src", "lib", "python"):
            if (root / folder / f"{name}.py").is_file() or any((root / folder / name).glob("*.py")):
                return folder
    return ""
