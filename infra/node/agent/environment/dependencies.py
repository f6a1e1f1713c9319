"""Install a project's dependencies into an environment, once for all jobs that need the same.

The project itself is never installed: each job imports it from its own working folder.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..records import HOME, JOBS, is_supervised, numbers, read_json
from ..removal import remove_tree
from .environments import ITSELF, Base, build, look_at
from .uv import READY, build_once, is_spoiled, say
from .uv import DependenciesError as DependenciesError

ENVIRONMENTS = HOME / "environments"

ARCHIVES = (".whl", ".zip", ".tar.gz")
INCLUDED = re.compile(r"^\s*(-r|-c|--requirement|--constraint)?[\s=]*([^\s#]+)", re.MULTILINE)
PROJECT_TABLE = re.compile(r"^\s*\[project\][^\n]*\n(.*?)(?=^\s*\[|\Z)", re.MULTILINE | re.DOTALL)
LISTED = re.compile(r"^\s*dependencies\s*=\s*\[(?:\s|#[^\n]*\n)*[^\]\s#]", re.MULTILINE)
DYNAMIC = re.compile(r"^\s*dynamic\s*=\s*\[[^\]]*[\"']dependencies[\"']", re.MULTILINE)


class Prepared(NamedTuple):
    """The interpreter for a job, and the key of its environment ("" if there was nothing to install)."""

    python: str
    key: str


def prepare(project: Path, base_python: str, log: BinaryIO) -> Prepared:
    """Install the project's dependencies if needed and return their interpreter.

    Raises DependenciesError.
    """
    manifest = find_manifest(project)
    if not manifest:
        return Prepared(base_python, "")
    name, started = manifest[0].name, time.monotonic()
    try:
        base = look_at(base_python)
        key = key_of(project, manifest, base)
        folder = choose_folder(key, log)
        if build_once(folder, log, lambda lock: build(project, manifest, base, folder, log, lock)):
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


def find_manifest(project: Path) -> list[Path]:
    """Return the files that declare the project's dependencies; the first kind found wins."""
    lock, settings = project / "uv.lock", project / "pyproject.toml"
    if lock.is_file() and settings.is_file():
        return [lock, settings]
    requirements = project / "requirements.txt"
    if requirements.is_file():
        return [requirements]
    if settings.is_file() and lists_dependencies(settings):
        return [settings]
    return [path for path in (project / "environment.yml", project / "environment.yaml") if path.is_file()][:1]


def lists_dependencies(settings: Path) -> bool:
    """Return whether the [project] table of a pyproject.toml lists dependencies.

    A regular expression, because Python 3.8 cannot parse TOML.
    """
    table = PROJECT_TABLE.search(settings.read_text(encoding="utf-8", errors="replace"))
    if table and DYNAMIC.search(table[1]):
        raise DependenciesError(
            "pyproject.toml leaves its dependencies to its build system (dynamic); "
            "list them in requirements.txt or under [project] dependencies, or run with --no-deps"
        )
    return bool(table and LISTED.search(table[1]))


def key_of(project: Path, manifest: list[Path], base: Base) -> str:
    """Hash what identifies an environment: the manifest files, the base interpreter and its packages."""
    digest = hashlib.sha256()
    for path in with_included(manifest):
        name, content = os.path.relpath(path, project), path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    packages = sorted(path.name for folder in base.path for path in Path(folder).glob("*.*-info"))
    digest.update(json.dumps([os.path.realpath(base.python), base.prefix, base.version, packages]).encode())
    return digest.hexdigest()[:32]


def with_included(manifest: list[Path]) -> list[Path]:
    """Return the manifest and the files it refers to: -r, -c, local wheels, the project's pyproject.toml."""
    found = list(manifest)
    for path in found:  # extended during the loop
        if path.suffix in (".txt", ".in"):
            text = path.read_text(encoding="utf-8", errors="replace")
            named = [name for option, name in INCLUDED.findall(text) if option or name.endswith(ARCHIVES)]
            named += ["pyproject.toml"] if ITSELF.search(text) else []
            others = dict.fromkeys(Path(os.path.normpath(path.parent / name)) for name in named)
            found += [other for other in others if other.is_file() and other not in found]
    return found
