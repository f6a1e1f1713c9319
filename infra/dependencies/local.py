"""Requirements that are folders of the project itself: uv's path sources and workspaces.

https://docs.astral.sh/uv/concepts/projects/dependencies/#dependency-sources
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from infra.dependencies.sources import NO_DEPS, Sources, above, join, table_of
from infra.errors import UsageError
from infra.model.dependencies import Dependencies

PYPROJECT = "pyproject.toml"
MANIFESTS = (PYPROJECT, "setup.py", "setup.cfg")
OUTSIDE = "run from a folder that contains it, such as the top of its git repository; to install nothing: --no-deps"
NEVER = "{name} ; python_version < '0'"
"""The requirement that replaces a local package wherever it is required: jobs import it from their own copy."""


def take_local(
    sources: Sources, found: Dependencies, settings: Mapping[str, Any], required: Iterable[str]
) -> Dependencies:
    """Return dependencies whose local packages are among its projects, and installed from nowhere else.

    `required` are the requirements that name some of them. Raises UsageError for a folder that is not uploaded.
    """
    tables = sources_of(sources, found.folder, settings)
    asked: dict[str, Requirement] = {canonicalize_name(each.name): each for each in parse(required)}
    folders: dict[str, str] = {}
    archives: list[str] = []
    for name, table, base in tables:
        if name in asked and table.get("workspace") is True:
            folders[name] = find_member(sources, found, name)
        elif name in asked and "path" in table:
            place = find_place(sources, found, join(base, str(table["path"])), name)
            if sources.has(place):
                archives.append(place)
            else:
                folders[name] = place
    return replace(
        found,
        projects=(*found.projects, *((folder, tuple(sorted(asked[name].extras))) for name, folder in folders.items())),
        overrides=(*found.overrides, *(NEVER.format(name=name) for name in folders)),
        watched=(*found.watched, *archives),
    )


def list_script(sources: Sources, folder: str, table: Mapping[str, Any], listed: Iterable[str]) -> list[str]:
    """Return a script's requirements as lines; `uv pip` ignores its sources and indexes."""
    uv, found = table_of(table, "tool", "uv"), Dependencies("the script", folder=folder)
    lines = [
        f"{'--index-url' if each.get('default') else '--extra-index-url'} {each['url']}" for each in uv.get("index", ())
    ]
    lines += [f"--find-links {place}" for place in uv.get("find-links", ())] + ["--no-index"] * bool(uv.get("no-index"))
    given: dict[str, list[Mapping[str, Any]]] = {}
    for name, source, _ in sources_of(sources, folder, table):
        given.setdefault(name, []).append(source)
    for text in listed:
        package = next(parse([text]), None)
        for source in given.get(canonicalize_name(package.name), ({},)) if package else ({},):
            lines.append(from_source(sources, found, package, source) if package and source else text)
    return lines


def from_source(sources: Sources, found: Dependencies, package: Requirement, source: Mapping[str, Any]) -> str:
    """Return the requirement of a package with a source; raises UsageError for an unknown member."""
    extras = f"[{','.join(sorted(package.extras))}]" if package.extras else ""
    markers = [f"({each})" for each in (package.marker, source.get("marker")) if each]
    condition = f" ; {' and '.join(markers)}" if markers else ""
    if source.get("workspace") is True:
        return f"./{find_member(sources, found, canonicalize_name(package.name))}{extras}{condition}"
    if "path" in source:
        return f"./{source['path']}{extras}{condition}"
    if "git" in source:
        at = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if source.get(key)), "")
        inner = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
        return f"{package.name}{extras} @ git+{source['git']}{at}{inner}{condition}"
    return f"{package.name}{extras} @ {source['url']}{condition}" if "url" in source else str(package)


def parse(lines: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements among these lines; uv says more about any other."""
    for line in lines:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue


def sources_of(
    sources: Sources, folder: str, settings: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the sources of a project, its workspace's first: package, source, and the path's base."""
    root = find_workspace(sources, folder)
    inherited = [(root, sources.toml(join(root, PYPROJECT)))] if root not in (None, folder) else []
    for base, table in (*inherited, (folder, settings)):
        for name, value in table_of(table, "tool", "uv", "sources").items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Mapping):
                    yield canonicalize_name(name), each, str(base)


def find_place(sources: Sources, found: Dependencies, path: str, name: str) -> str:
    """Return the uploaded archive or folder at a path; raises UsageError if it is neither."""
    if sources.has(path):
        return path
    if not path.startswith("../") and any(sources.has(join(path, each)) for each in MANIFESTS):
        return path
    if path.startswith(("../", "/")):
        raise UsageError(f"{found.manifest}: '{name}' comes from {path}, outside the project", OUTSIDE)
    why = "not uploaded, as git ignores it" if (sources.root / path).exists() else "missing"
    raise UsageError(f"{found.manifest}: '{name}' comes from {path}, which is {why}", NO_DEPS)


def find_workspace(sources: Sources, folder: str) -> str | None:
    """Return the folder of the workspace that a folder is the root or a member of; None if it is in none."""
    for root in above(folder):
        if table_of(sources.toml(join(root, PYPROJECT)), "tool", "uv").get("workspace") is not None:
            return root if root == folder or is_member(sources, root, folder) else None
    return None


def is_member(sources: Sources, root: str, folder: str) -> bool:
    """Return whether a folder is a member of the uv workspace of a folder above it."""
    workspace = table_of(sources.toml(join(root, PYPROJECT)), "tool", "uv", "workspace")
    name = folder if root == "." else folder[len(root) + 1 :]
    included, excluded = (
        any(matches(name, posixpath.normpath(str(pattern))) for pattern in workspace.get(key, ()))
        for key in ("members", "exclude")
    )
    return included and not excluded


def matches(name: str, pattern: str) -> bool:
    """Return whether a path matches a pattern, in which only ** stands for several folders."""
    parts, patterns = name.split("/"), pattern.split("/")
    if "**" in patterns:
        return fnmatch(name, pattern)
    return len(parts) == len(patterns) and all(map(fnmatch, parts, patterns))


def list_members(sources: Sources, root: str) -> list[str]:
    """Return the folders of the members of a workspace."""
    start = "" if root == "." else f"{root}/"
    names = (name for name in sources.names if name.startswith(start) and name.endswith(f"/{PYPROJECT}"))
    folders = sorted(join(name, "..") for name in names)
    return [folder for folder in folders if folder != root and is_member(sources, root, folder)]


def find_member(sources: Sources, found: Dependencies, name: str) -> str:
    """Return the folder of a member of the workspace by its name; raises UsageError if there is none."""
    root = find_workspace(sources, found.folder)
    for folder in [root, *list_members(sources, root)] if root is not None else ():
        named = table_of(sources.toml(join(folder, PYPROJECT)), "project").get("name", "")
        if canonicalize_name(str(named)) == name:
            return folder
    if root is None:
        raise UsageError(f"{found.manifest}: '{name}' is in a workspace outside the project", OUTSIDE)
    raise UsageError(f"{found.manifest}: no member of the workspace is named '{name}'", NO_DEPS)


def expand_group(groups: Mapping[str, Any], name: str) -> list[str]:
    """Return the requirements of a dependency group and of the groups that it includes."""
    lines = []
    for entry in groups.get(name, ()):
        if isinstance(entry, str):
            lines.append(entry)
        elif entry.get("include-group") not in (None, name):
            lines += expand_group({key: value for key, value in groups.items() if key != name}, entry["include-group"])
    return lines
