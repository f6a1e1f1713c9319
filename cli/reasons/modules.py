"""A module was missing: which manifest was used, and how to add it."""

import posixpath
import re
from contextlib import suppress
from pathlib import Path

from cli.reasons.failure import Failure
from infra.dependencies.names import describe_addition
from infra.model import Job
from infra.run.options import read_options

MISSING = re.compile(r"^(?:\[rank\d+\]: ?)?ModuleNotFoundError: No module named '([\w.]{1,200})'", re.MULTILINE)


def explain(failure: Failure) -> str:
    """Return how to add the missing module; "" if this is not the reason."""
    found = MISSING.search(failure.log)
    return describe_missing(found[1], failure) if found else ""


def describe_missing(module: str, failure: Failure) -> str:
    """Return what a user needs to know about a missing module."""
    job = failure.job
    if folder := find_inside(module, failure.root):
        options = read_options(job.source)
        path = posixpath.relpath(folder, options.workdir if options else ".")
        where = "the top folder" if folder == "." else folder
        return f"'{module}' is in {where} of the project, where Python did not look: --env PYTHONPATH={path}"
    options = job.source.get("options")
    if isinstance(options, dict) and options.get("no_deps"):
        return f"'{module}' is not installed, and the job ran with --no-deps: rerun without it"
    manifest = str(job.source.get("manifest") or "")
    return f"'{module}' is not installed ({used_manifest(job)})\n  {describe_addition(module, manifest)}"


def used_manifest(job: Job) -> str:
    """Return which manifest a job's dependencies were installed from."""
    manifest = str(job.source.get("manifest") or "")
    return f"dependencies were from {manifest}" if manifest else "no dependencies were found"


def find_inside(module: str, root: Path) -> str:
    """Return the folder of a project that a module is in; "" if it is not there."""
    name = module.split(".")[0]
    with suppress(OSError):
        for folder in (".", "src", "lib", "python"):
            if (root / folder / f"{name}.py").is_file() or any((root / folder / name).glob("*.py")):
                return folder
    return ""
