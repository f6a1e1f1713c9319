"""A module was missing: which manifest was used, and how to add it."""

import re
from contextlib import suppress
from pathlib import Path

from cli.reasons.failure import Failure
from infra.dependencies.names import describe_addition
from infra.model import Job

MISSING = re.compile(r"^(?:\[rank\d+\]: ?)?ModuleNotFoundError: No module named '([\w.]{1,200})'", re.MULTILINE)


def explain(failure: Failure) -> str:
    """Return how to add the missing module; "" if this is not the reason."""
    found = MISSING.search(failure.log)
    return describe_missing(found[1], failure.job) if found else ""


def describe_missing(module: str, job: Job) -> str:
    """Return what a user needs to know about a missing module."""
    if folder := find_inside(module, job):
        return f"'{module}' is in {folder} of the project, where Python did not look: --env PYTHONPATH={folder}"
    options = job.source.get("options")
    if isinstance(options, dict) and options.get("no_deps"):
        return f"'{module}' is not installed, and the job ran with --no-deps: rerun without it"
    manifest = str(job.source.get("manifest") or "")
    used = f"dependencies were from {manifest}" if manifest else "no dependencies were found"
    return f"'{module}' is not installed ({used})\n  {describe_addition(module, manifest)}"


def find_inside(module: str, job: Job) -> str:
    """Return the folder of the project that a module is in; "" if it is not there."""
    root, name = Path(str(job.source.get("project") or "/nonexistent")), module.split(".")[0]
    with suppress(OSError):
        for folder in (".", "src", "lib", "python"):
            if (root / folder / f"{name}.py").is_file() or any((root / folder / name).glob("*.py")):
                return folder
    return ""
