"""Find the projects in a job's working tree: the nearest one, and the members of its workspace."""

from __future__ import annotations

import fnmatch
import os
import re
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

from .toml import Table, find_table, read_toml

SCRIPTS = (".py", ".ipynb", ".sh")
SETUP = re.compile(r"^\s*(?:from|import)\s+(?:setuptools|distutils|skbuild)\b.*?\bsetup\s*\(", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"^\[metadata\][^\[]*?^name\s*=", re.MULTILINE | re.DOTALL)


class Found(NamedTuple):
    """A project: its folder, and its pyproject.toml ({} if it has none)."""

    folder: Path
    settings: Table


def find_projects(root: Path, start: Path, pythons: Sequence[str], required: Sequence[Path]) -> list[Found]:
    """Return the projects to install: the nearest, its uv workspace, and those that a manifest requires.

    `pythons` are interpreters to read TOML with.
    """
    nearest = [found for folder in folders_above(start, root) for found in look(folder, pythons)][:1]
    folders = [*(find_members(root, start, pythons) if nearest else ()), *required]
    others = [each for folder in folders for each in look(folder, pythons)]
    return list({each.folder: each for each in (*nearest, *others) if is_package(each)}.values())


def start_of(command: Sequence[str], workdir: Path) -> Path:
    """Return where the search for a job's project starts: the folder of its script, or of the job."""
    named = (Path(os.path.normpath(workdir / word)) for word in command if word.endswith(SCRIPTS))
    return next((path.parent for path in named if path.is_file()), workdir)


def folders_above(start: Path, root: Path) -> Iterator[Path]:
    """Yield a folder and those above it, up to the root of the working tree."""
    yield from (folder for folder in (start, *start.parents) if folder == root or root in folder.parents)


def look(folder: Path, pythons: Sequence[str]) -> list[Found]:
    """Return the project in a folder; none if nothing there describes one."""
    settings: Table = {}
    if (folder / "pyproject.toml").is_file():
        settings = read_toml(folder / "pyproject.toml", pythons) or {}
    described = "project" in settings or "build-system" in settings or find_table(settings, "tool", "poetry")
    workspace = find_table(settings, "tool", "uv").get("workspace")
    return [Found(folder, settings)] if described or workspace or is_legacy(folder) else []


def is_legacy(folder: Path) -> bool:
    """Return whether a setup.py or setup.cfg describes a project, and is not a script of that name."""
    return bool(SETUP.search(read(folder / "setup.py")) or NAMED.search(read(folder / "setup.cfg")))


def read(path: Path) -> str:
    """Return the text of a file; "" if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_package(found: Found) -> bool:
    """Return whether a project can be installed, as uv and Poetry decide."""
    tool = find_table(found.settings, "tool")
    if find_table(tool, "uv").get("package") is False or find_table(tool, "poetry").get("package-mode") is False:
        return False
    named = find_table(found.settings, "project").get("name") or find_table(tool, "poetry").get("name")
    return bool("build-system" in found.settings or named or is_legacy(found.folder))


def find_members(root: Path, start: Path, pythons: Sequence[str]) -> list[Path]:
    """Return the folders of the uv workspace that `start` is in, its root first; none if it is in none."""
    for folder in folders_above(start, root):
        path = folder / "pyproject.toml"
        settings = (read_toml(path, pythons) or {}) if path.is_file() else {}
        workspace = find_table(settings, "tool", "uv", "workspace")
        if workspace:
            return [folder, *match_members(folder, workspace)]
    return []


def match_members(folder: Path, workspace: Table) -> Iterator[Path]:
    """Yield the folders below a workspace's root that its patterns select."""
    excluded = [os.path.normpath(str(pattern)) for pattern in workspace.get("exclude", [])]
    for pattern in (os.path.normpath(str(pattern)) for pattern in workspace.get("members", [])):
        for path in sorted(folder.glob(pattern)) if not pattern.startswith((os.sep, os.pardir)) else ():
            name = path.relative_to(folder).as_posix()
            if (path / "pyproject.toml").is_file() and not any(fnmatch.fnmatch(name, each) for each in excluded):
                yield path
