"""Read a project's metadata without running its build backend, if pyproject.toml is complete.

Name, version, entry points and the folder with the code are what an editable install needs. Anything that only the
backend knows (a version from git, a build hook, an extension module) makes `read_metadata` return None.
https://packaging.python.org/specifications/pyproject-toml/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Iterable, NamedTuple

from ..environments import VERSION
from .search import Found, read
from .toml import Table, find_table

CONSOLE, WINDOWED = "console_scripts", "gui_scripts"
# Fields that only the backend may know, but nothing at run time needs.
HARMLESS = {"description", "readme", "classifiers", "license", "license-files", "urls", "authors", "keywords"}
# Backends that build pure Python, each with the table that configures it.
PURE = {
    "": ("setuptools",),  # what pip uses if none is named
    "setuptools.build_meta": ("setuptools",),
    "setuptools.build_meta:__legacy__": ("setuptools",),
    "hatchling.build": ("hatch", "build"),
    "poetry.core.masonry.api": ("poetry",),
    "flit_core.buildapi": ("flit",),
    "pdm.backend": ("pdm", "build"),
    "uv_build": ("uv", "build-backend"),
}
# A setup.py without content, for tools that require one.
EMPTY_SETUP = re.compile(
    r"\s*((#[^\n]*|'''.*?'''|\"\"\".*?\"\"\"|from setuptools import setup|import setuptools|"
    r"(setuptools\.)?setup\(\s*\)|if __name__ == ['\"]__main__['\"]:)\s*)*",
    re.DOTALL,
)
NAME = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII)
Points = Dict[str, Dict[str, str]]


class Metadata(NamedTuple):
    """A project's metadata; `path` is the folder that its code is imported from."""

    name: str
    version: str
    path: Path
    headers: list[str]
    points: Points
    """Entry points by group."""


def read_metadata(found: Found) -> Metadata | None:
    """Return a project's metadata; None if it is invalid or only the build backend knows it."""
    try:
        return read_static(found)
    except (TypeError, AttributeError, ValueError):  # a value of the wrong type
        return None


def read_static(found: Found) -> Metadata | None:
    """Return the metadata in a project's pyproject.toml; None if it is incomplete."""
    backend = find_table(found.settings, "build-system").get("build-backend", "")
    if backend not in PURE or not EMPTY_SETUP.fullmatch(read(found.folder / "setup.py")):
        return None
    if re.search(r"^\[(metadata|options)", read(found.folder / "setup.cfg"), re.MULTILINE):
        return None
    path = find_code(found, find_table(found.settings, "tool", *PURE[backend]))
    project, poetry = find_table(found.settings, "project"), find_table(found.settings, "tool", "poetry")
    if path is None or not path.is_dir() or set(project.get("dynamic") or ()) - HARMLESS:
        return None
    table = project or poetry
    if not NAME.fullmatch(str(table.get("name"))) or not VERSION.fullmatch(str(table.get("version"))):
        return None
    points = points_of(project) if project else points_of_poetry(poetry)
    headers = headers_of(project)
    return None if points is None else Metadata(table["name"], table["version"], path, headers, points)


def find_code(found: Found, table: Table) -> Path | None:
    """Return the folder that a project's modules are in; None if its backend's table leaves that open."""
    folder = found.folder
    usual = folder / "src" if (folder / "src").is_dir() else folder
    backend = find_table(found.settings, "build-system").get("build-backend", "")
    if backend == "uv_build":
        return folder / str(table.get("module-root", "src"))
    if backend == "" or backend.startswith("setuptools"):
        return find_code_of_setuptools(folder, usual, table)
    if backend == "hatchling.build":
        return find_code_of_hatch(folder, usual, table)
    if backend == "pdm.backend":
        hooked = (folder / "pdm_build.py").exists() or "custom-hook" in table or "run-setuptools" in table
        return None if hooked else folder / str(table.get("package-dir", usual))
    if backend == "poetry.core.masonry.api":
        sources = {str(each.get("from", ".")) if "to" not in each else "" for each in table.get("packages", [])}
        return None if "build" in table or len(sources) > 1 or "" in sources else folder / next(iter(sources), usual)
    return usual


def find_code_of_setuptools(folder: Path, usual: Path, table: Table) -> Path | None:
    """Return the folder that setuptools' table selects; None for several folders or extension modules."""
    where = find_table(table, "packages", "find").get("where", [])
    mapping = find_table(table, "package-dir")
    if "ext-modules" in table or "cmdclass" in table or set(mapping) - {""} or len(where) > 1:
        return None
    listed = where or ([mapping[""]] if mapping else [])
    if not listed and ("packages" in table or "py-modules" in table):
        return folder
    return folder / str(listed[0]) if listed else usual


def find_code_of_hatch(folder: Path, usual: Path, table: Table) -> Path | None:
    """Return the folder that hatchling's table selects; None for hooks, moved files and several folders."""
    wheel = find_table(table, "targets", "wheel")
    if any(key in each for each in (table, wheel) for key in ("hooks", "force-include", "sources", "dev-mode-dirs")):
        return None
    parents = {(folder / str(package)).parent for package in wheel.get("packages") or table.get("packages") or []}
    return None if len(parents) > 1 else next(iter(parents), usual)


def headers_of(project: Table) -> list[str]:
    """Return the lines of METADATA that a program may ask for."""
    lines = [f"Summary: {' '.join(str(project['description']).split())}"] if project.get("description") else []
    lines += [f"Requires-Python: {project['requires-python']}"] if project.get("requires-python") else []
    lines += [f"Requires-Dist: {need}" for need in project.get("dependencies", [])]
    for extra, needs in find_table(project, "optional-dependencies").items():
        lines += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {only_with(extra, need)}" for need in needs)]
    return lines


def only_with(extra: str, need: str) -> str:
    """Return a requirement limited to an extra; in a URL, a semicolon has no space before it."""
    name, separator, marker = need.partition(" ;" if "@" in need else ";")
    condition = f"({marker.strip()}) and " if separator else ""
    return f"{name.strip()} ; {condition}extra == '{extra}'"


def points_of(project: Table) -> Points:
    """Return the entry points of a [project] table."""
    groups: dict[str, Any] = {CONSOLE: project.get("scripts", {}), WINDOWED: project.get("gui-scripts", {})}
    return only_filled({**groups, **find_table(project, "entry-points")}.items())


def points_of_poetry(poetry: Table) -> Points | None:
    """Return the entry points of a [tool.poetry] table; None for a script that is more than a function."""
    scripts = find_table(poetry, "scripts")
    if not all(isinstance(target, str) for target in scripts.values()):
        return None
    return only_filled({CONSOLE: scripts, **find_table(poetry, "plugins")}.items())


def only_filled(groups: Iterable[tuple[str, dict[str, str]]]) -> Points:
    """Return the groups that have an entry point."""
    return {group: dict(points) for group, points in groups if points}
