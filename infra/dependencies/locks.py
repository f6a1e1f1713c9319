"""Read poetry.lock, pdm.lock and Pipfile.lock: a project's locked dependencies as requirements.

Each is compared with what the project declares, so that an outdated lock is never installed silently.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from infra.dependencies import poetry
from infra.dependencies.pyproject import PYPROJECT, Chosen, table_of
from infra.dependencies.requirements import is_url
from infra.dependencies.sources import Sources, join
from infra.errors import UsageError
from infra.model.dependencies import Dependencies

MOST_CONDITIONS = 16  # of a package that many others need, each under its own marker


@dataclass(frozen=True)
class Package:
    """One package of a lock."""

    name: str
    version: str
    url: str = ""
    """Where it comes from, if not from an index; "." for a folder of the project."""
    marker: str = ""
    needs: tuple[Requirement, ...] = ()
    hashes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The requirement of exactly this package."""
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"


def read_poetry_lock(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return a project's dependencies as locked in its poetry.lock; None without both files."""
    lock, name = join(folder, "poetry.lock"), join(folder, PYPROJECT)
    if not (sources.has(lock) and sources.has(name)):
        return None
    settings, content = sources.toml(name), sources.toml(lock)
    old_hashes = table_of(content, "metadata", "files")
    packages = [
        Package(
            name=table["name"],
            version=table["version"],
            url=url_of(table_of(table, "source")),
            marker=marker_of(table.get("markers", "")),
            needs=tuple(needs_of(table_of(table, "dependencies"), lock)),
            hashes=tuple(each["hash"] for each in table.get("files") or old_hashes.get(table["name"], ())),
        )
        for table in content.get("package", ())
    ]
    declared = declare(settings, folder, chosen)
    return select(declared, packages, lock, "poetry lock")


def read_pdm_lock(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return a project's dependencies as locked in its pdm.lock; None without both files."""
    lock, name = join(folder, "pdm.lock"), join(folder, PYPROJECT)
    if not (sources.has(lock) and sources.has(name)):
        return None
    settings, content = sources.toml(name), sources.toml(lock)
    packages = [
        Package(
            name=table["name"],
            version=table["version"],
            url=url_of({"type": "git", **table, "url": table["git"]}) if "git" in table else table.get("url", ""),
            marker=table.get("marker", ""),
            needs=tuple(parse(line, lock) for line in table.get("dependencies", ())),
            hashes=tuple(each["hash"] for each in table.get("files", ())),
        )
        for table in content.get("package", ())
    ]
    return select(declare(settings, folder, chosen), packages, lock, "pdm lock")


def read_pipfile_lock(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the dependencies in a Pipfile.lock or, without one, the Pipfile; None without either."""
    lock, name = join(folder, "Pipfile.lock"), join(folder, "Pipfile")
    pipfile = sources.toml(name)
    if not sources.has(lock):
        return read_pipfile(pipfile, name, folder, chosen) if pipfile else None
    try:
        content = json.loads(sources.read(lock))
        tables = [content["default"], *(content["develop"] for group in chosen.groups if group == "dev")]
        indexes = content.get("_meta", {}).get("sources", [])
        locked = {package: value for table in tables for package, value in table.items()}
        lines = [
            with_hashes(as_locked(package, value, lock), value.get("hashes", ())) for package, value in locked.items()
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{lock} is not a lock of Pipenv", "pipenv lock, or run with --no-deps") from error
    declared = read_pipfile(pipfile, name, folder, chosen) if pipfile else None
    versions = {canonicalize_name(package): str(value.get("version", "")) for package, value in locked.items()}
    for line in declared.lines if declared else ():
        if not line.startswith("-"):
            check_locked(parse(line, name), versions, lock, "pipenv lock")
    return Dependencies(
        lock,
        folder=folder,
        lines=(*as_pipenv_indexes(indexes), *lines),
        locked=True,
        declared=specifiers_of(declared.lines if declared else ()),
    )


def as_locked(package: str, value: Mapping[str, Any], lock: str) -> str:
    """Return the requirement of a package in a Pipfile.lock."""
    kept = {key: value[key] for key in ("extras", "markers", "git", "ref", "file", "version") if key in value}
    return poetry.as_requirement(package, kept, lock)


def read_pipfile(pipfile: Mapping[str, Any], name: str, folder: str, chosen: Chosen) -> Dependencies:
    """Return what a Pipfile lists."""
    chosen.check(name, (), ["dev", *pipfile])
    listed = dict(table_of(pipfile, "packages"))
    for group in chosen.groups:
        listed.update(table_of(pipfile, "dev-packages" if group == "dev" else group))
    local = {package: value for package, value in listed.items() if isinstance(value, Mapping) and "path" in value}
    lines = [poetry.as_requirement(package, value, name) for package, value in listed.items() if package not in local]
    projects = tuple((join(folder, str(value["path"])), tuple(value.get("extras", ()))) for value in local.values())
    return Dependencies(
        name, folder=folder, lines=(*as_pipenv_indexes(pipfile.get("source", [])), *lines), projects=projects
    )


def as_pipenv_indexes(tables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the options for the indexes of a Pipfile: the first is the default."""
    urls = [str(table["url"]) for table in tables]
    return (*(f"--index-url {url}" for url in urls[:1]), *(f"--extra-index-url {url}" for url in urls[1:]))


def declare(settings: Mapping[str, Any], folder: str, chosen: Chosen) -> Dependencies:
    """Return what a pyproject.toml declares, of [project], [tool.poetry] and groups."""
    name = join(folder, PYPROJECT)
    project, groups = table_of(settings, "project"), table_of(settings, "dependency-groups")
    extras, tools = table_of(project, "optional-dependencies"), table_of(settings, "tool", "poetry")
    of_pdm = table_of(settings, "tool", "pdm", "dev-dependencies")
    lines = [str(line) for line in project.get("dependencies", ())]
    lines += [line for extra in chosen.extras for line in extras.get(extra, ())]
    lines += [line for group in chosen.groups for line in expand_group(groups, group) or of_pdm.get(group, ())]
    known = {*groups, *of_pdm, *table_of(tools, "group"), *({"dev"} if "dev-dependencies" in tools else ())}
    chosen.check(name, {*extras, *table_of(tools, "extras")}, known)
    found = Dependencies(name, folder=folder, lines=tuple(lines))
    if "dependencies" not in tools:
        return found
    in_groups = [group for group in chosen.groups if group not in groups]
    in_extras = [extra for extra in chosen.extras if extra not in extras]
    of_poetry = poetry.read_declared(settings, folder, in_extras, in_groups)
    return replace(found, lines=(*found.lines, *of_poetry.lines), projects=of_poetry.projects)


def expand_group(groups: Mapping[str, Any], name: str) -> list[str]:
    """Return the requirements of a dependency group and of the groups that it includes."""
    lines = []
    for entry in groups.get(name, ()):
        if isinstance(entry, str):
            lines.append(entry)
        elif entry.get("include-group") not in (None, name):
            lines += expand_group({key: value for key, value in groups.items() if key != name}, entry["include-group"])
    return lines


def select(declared: Dependencies, packages: Sequence[Package], lock: str, command: str) -> Dependencies:
    """Return the locked packages that the declared ones need, each under the conditions it is needed."""
    by_name: dict[str, list[Package]] = {}
    for package in packages:
        by_name.setdefault(canonicalize_name(package.name), []).append(package)
    versions = {canonicalize_name(name): found[0].version if len(found) == 1 else "" for name, found in by_name.items()}
    roots = [parse(line, declared.manifest) for line in declared.lines if not line.startswith("-")]
    for root in roots:
        check_locked(root, versions, lock, command)
    conditions = find_conditions(roots, by_name)
    lines = [line for line in declared.lines if line.startswith("-")]
    for name, reasons in conditions.items():
        for package in by_name.get(name, ()):
            if package.url != ".":
                marker = " or ".join(" and ".join(sorted(reason)) for reason in sorted(reasons, key=sorted))
                both = " and ".join(f"({each})" for each in (package.marker, marker) if each)
                lines.append(with_hashes(package.line + (f" ; {both}" if both else ""), package.hashes))
    return replace(declared, manifest=lock, lines=tuple(lines), locked=True, declared=specifiers_of(declared.lines))


def find_conditions(
    roots: Iterable[Requirement], packages: Mapping[str, list[Package]]
) -> dict[str, set[frozenset[str]]]:
    """Return each needed name with the sets of markers that need it; an empty set means always."""
    found: dict[str, set[frozenset[str]]] = {}
    waiting = [(root, frozenset[str]()) for root in roots]
    while waiting:
        need, above = waiting.pop()
        name, reason = canonicalize_name(need.name), above | ({f"({need.marker})"} if need.marker else set())
        if "extra ==" in str(need.marker):
            continue
        reasons = found.setdefault(name, set())
        if any(known <= reason for known in reasons):
            continue
        if len(reasons) >= MOST_CONDITIONS:
            reason = frozenset()
        found[name] = {known for known in reasons if not reason <= known} | {reason}
        waiting += [(inner, reason) for package in packages.get(name, ()) for inner in package.needs]
    return {name: set() if frozenset() in reasons else reasons for name, reasons in found.items()}


def check_locked(need: Requirement, versions: Mapping[NormalizedName, str], lock: str, command: str) -> None:
    """Raise UsageError unless a lock has the package in a version that satisfies the requirement."""
    version = versions.get(canonicalize_name(need.name))
    if version is None:
        said = f"{lock} is out of date: {need.name}, which the project requires, is missing"
    elif version and not need.url and not need.specifier.contains(version.lstrip("="), prereleases=True):
        there, wanted = f"{need.name} {version.lstrip('=')}", f"{need.name}{need.specifier}"
        said = f"{lock} is out of date: it has {there}, the project requires {wanted}"
    else:
        return
    raise UsageError(said, command)


def needs_of(table: Mapping[str, Any], where: str) -> Iterator[Requirement]:
    """Yield what a package of a poetry.lock needs, without optional dependencies of unrequested extras."""
    for name, value in table.items():
        for each in value if isinstance(value, list) else [value]:
            optional = poetry.is_optional(each) and "extra ==" in str(each.get("markers", ""))
            if not optional:
                marker = {"markers": each["markers"]} if isinstance(each, Mapping) and each.get("markers") else {}
                extras = {"extras": each["extras"]} if isinstance(each, Mapping) and each.get("extras") else {}
                yield parse(poetry.as_requirement(name, {"version": "*", **marker, **extras}, where), where)


def marker_of(value: Any) -> str:
    """Return the marker of a package; a table has one per group, any of which may apply."""
    each = list(value.values()) if isinstance(value, Mapping) else [value] if value else []
    return " or ".join(f"({marker})" for marker in each) if all(each) else ""


def url_of(source: Mapping[str, Any]) -> str:
    """Return where a package comes from, if not from an index; "." for a folder of the project."""
    kind, url = source.get("type", ""), str(source.get("url", ""))
    if kind in ("directory", "file"):
        return "."
    if kind == "git":
        return f"git+{url}@{source.get('resolved_reference') or source.get('revision') or source.get('reference')}"
    return url if kind == "url" else ""


def with_hashes(line: str, hashes: Iterable[str]) -> str:
    """Return a requirement that accepts only files with these hashes; a repository has none."""
    return line if "git+" in line else " ".join([line, *(f"--hash={each}" for each in hashes)])


def specifiers_of(lines: Iterable[str]) -> dict[str, str]:
    """Return the constraint of each requirement by its name."""
    needs = (Requirement(line) for line in lines if not line.startswith("-") and not is_url(line))
    return {canonicalize_name(need.name): str(need.specifier) for need in needs}


def parse(line: str, where: str) -> Requirement:
    """Parse a requirement; raises UsageError, naming the file, if it is invalid."""
    try:
        return Requirement(line)
    except InvalidRequirement as error:
        raise UsageError(f"{where}: '{line}' is not a requirement", "fix it, or run with --no-deps") from error
