"""Install a project's dependencies into an environment, once for all jobs that need the same.

The client finds and reads the manifest (`infra/dependencies`); the result is installed here. The project itself is not
installed: each job imports it from its own working folder.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any, BinaryIO, Mapping, NamedTuple

from ..records import HOME, JOBS, is_supervised, numbers, read_json
from ..removal import remove_tree
from .environments import Base, look_at
from .installation import Installation
from .packages import build
from .uv import READY, build_once, is_spoiled, say
from .uv import DependenciesError as DependenciesError

ENVIRONMENTS = HOME / "environments"
REFERENCE = re.compile(r"\$\{(\w+)\}")


class Prepared(NamedTuple):
    """The interpreter for a job, and the key of its environment ("" if there was nothing to install)."""

    python: str
    key: str


def complete_plan(
    job: dict[str, Any], secrets: Mapping[str, str], credentials: Mapping[str, str]
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Return the installation plan, and the variables that it may refer to.

    They are the credentials of indexes and, of the job's own variables, those named in the manifest and uv's and pip's.
    """
    plan = job["dependencies"]
    if plan is None:
        return None, {}
    named = set(REFERENCE.findall("\n".join([*plan["lines"], *plan["constraints"]])))

    def select(given: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in given.items() if name in named or name.startswith(("UV_", "PIP_"))}

    own = select(job["env"])
    return {**plan, "variables": own}, {**own, **select(secrets), **credentials}


def prepare(
    project: Path, plan: dict[str, Any] | None, base_python: str, log: BinaryIO, variables: dict[str, str]
) -> Prepared:
    """Install the dependencies that the client read, if needed, and return the interpreter.

    `variables` are those that the manifest may refer to, with the credentials of its indexes. Raises DependenciesError.
    """
    if plan is None or not (plan["lines"] or plan["files"] or plan["groups"] or plan["kind"] != "requirements"):
        return Prepared(base_python, "")
    name, started = plan["manifest"], time.monotonic()
    try:
        base = look_at(base_python)
        key = key_of(project, plan, base)
        folder = choose_folder(key, log)
        if build_once(folder, log, lambda lock: build(Installation(project, plan, base, folder, log, lock, variables))):
            say(log, f"dependencies installed in {time.monotonic() - started:.1f} s")
        else:
            say(log, f"dependencies from {name} are already installed")
    except OSError as error:
        raise DependenciesError(f"the dependencies from {name} could not be installed: {error}") from error
    return Prepared(str(folder / "bin" / "python"), key)


def choose_folder(key: str, log: BinaryIO) -> Path:
    """Return the folder for an environment; delete one that a job has modified, unless it is in use."""
    names = itertools.chain([key], (f"{key}-{count}" for count in itertools.count(2)))
    for folder in (ENVIRONMENTS / name for name in names):
        if not is_spoiled(folder):
            return folder
        say(log, "a job has changed the installed dependencies; installing them again")
        if not is_in_use(folder):
            remove_tree(folder)
            return folder
    raise AssertionError("there is always another name")


def is_in_use(folder: Path) -> bool:
    """Return whether an unfinished job uses this environment."""
    jobs = (JOBS / str(number) for number in numbers())
    found = (job for job in jobs if read_json(job / "state.json", {}).get("python", "").startswith(f"{folder}/"))
    return any(map(is_supervised, found))


def sift() -> None:
    """Remove environments that are incomplete or were modified; no job may be running."""
    for path in ENVIRONMENTS.iterdir() if ENVIRONMENTS.is_dir() else ():
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif not (path / READY).is_file() or is_spoiled(path):
            remove_tree(path)


def key_of(project: Path, plan: dict[str, Any], base: Base) -> str:
    """Return the identity of an environment: a hash of the plan, its files, and the base's packages.

    The manifest's path and notes do not matter: jobs of two folders share an environment.
    """
    ignored = ("manifest", "notes", "folder") if not (plan["files"] or plan["watched"]) else ("notes",)
    content = {name: value for name, value in plan.items() if name not in ignored}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in plan["watched"]:
        text = (project / name).read_bytes()
        digest.update(f"{name}\0{len(text)}\0".encode("utf-8", "surrogateescape") + text)
    packages = sorted(path.name for folder in base.path for path in Path(folder).glob("*.*-info"))
    digest.update(json.dumps([os.path.realpath(base.python), base.prefix, base.version, packages]).encode())
    return digest.hexdigest()[:32]
