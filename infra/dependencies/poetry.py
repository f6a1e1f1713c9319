"""Translate what [tool.poetry] and a Pipfile say into requirements.

https://python-poetry.org/docs/dependency-specification/
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.dependencies.sources import join
from infra.errors import UsageError
from infra.model.dependencies import Dependencies

PYTHON = "python"
NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def read_declared(
    settings: Mapping[str, Any], folder: str, extras: Sequence[str] = (), groups: Sequence[str] = ()
) -> Dependencies:
    """Return the requirements of [tool.poetry]; raises UsageError for what cannot be translated."""
    table, name = settings["tool"]["poetry"], join(folder, "pyproject.toml")
    wanted = dict(table["dependencies"])
    for group in groups:
        wanted.update(find_group(table, group, name))
    chosen = set()
    for extra in extras:
        if extra not in table.get("extras", {}):
            there = ", ".join(sorted(table.get("extras", {}))) or "none"
            raise UsageError(f"{name} has no extra '{extra}'", f"omit --extra; it has {there}")
        chosen |= {word.lower() for word in table["extras"][extra]}
    lines = index_lines(table.get("source", []))
    projects = []
    for package, value in wanted.items():
        for each in value if isinstance(value, list) else [value]:
            if package.lower() == PYTHON or (is_optional(each) and package.lower() not in chosen):
                continue
            if isinstance(each, Mapping) and "path" in each:
                projects.append((join(folder, str(each["path"])), tuple(each.get("extras", ()))))
            else:
                lines.append(as_requirement(package, each, name))
    return Dependencies(name, folder=folder, lines=tuple(lines), projects=tuple(projects))


def find_group(table: Mapping[str, Any], group: str, name: str) -> Mapping[str, Any]:
    """Return the dependencies of a group; raises UsageError if there is none of that name."""
    there = {each: inner.get("dependencies", {}) for each, inner in table.get("group", {}).items()}
    if "dev-dependencies" in table:
        there.setdefault("dev", table["dev-dependencies"])
    if group not in there:
        raise UsageError(f"{name} has no group '{group}'", f"omit --group; it has {', '.join(sorted(there)) or 'none'}")
    return dict(there[group])


def is_optional(value: Any) -> bool:
    """Return whether a dependency belongs to an extra."""
    return isinstance(value, Mapping) and bool(value.get("optional"))


def index_lines(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options for the indexes of a project; only a primary one replaces PyPI."""
    lines: list[str] = []
    for source in tables:
        replaces = source.get("default") or source.get("priority", "supplemental") in ("primary", "default")
        if source.get("url") and source["name"].lower() != "pypi":
            first = replaces and not any(line.startswith("--index-url") for line in lines)
            lines.append(f"{'--index-url' if first else '--extra-index-url'} {source['url']}")
    return lines


def as_requirement(package: str, value: Any, where: str) -> str:
    """Return the requirement of a dependency; raises UsageError for what cannot be translated."""
    table = {"version": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: '{package}' is not a dependency", "fix it, or run with --no-deps")
    extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
    markers = [f"({table['markers']})"] if table.get("markers") else []
    markers += [of_python(table["python"], where)] if table.get("python") else []
    condition = f" ; {' and '.join(filter(None, markers))}" if any(markers) else ""
    if "git" in table:
        at = next((table[key] for key in ("rev", "ref", "tag", "branch") if table.get(key)), "")
        url = re.sub(r"^git@([^:/]+):", r"ssh://git@\1/", str(table["git"]))
        return f"{package}{extras} @ git+{url}{'@' * bool(at)}{at}{condition}"
    if "url" in table or "file" in table:
        return f"{package}{extras} @ {table.get('url') or table['file']}{condition}"
    return f"{package}{extras}{as_specifier(str(table.get('version', '*')), f'{where}: {package}')}{condition}"


def of_python(version: str, where: str) -> str:
    """Return the marker for a range of Python versions; "" for any."""
    parts = re.findall(r"(~=|===?|!=|<=?|>=?)([^,]+)", as_specifier(version, where))
    return " and ".join(f"python_version {operator} '{number}'" for operator, number in parts)


def as_specifier(version: str, where: str) -> str:
    """Return Poetry's constraint in PEP 440 form: ^1.2 is >=1.2,<2.

    Raises UsageError for alternatives.
    """
    if "|" in version:
        what = f"{where} allows alternatives ({version}), which only Poetry understands"
        raise UsageError(what, "write one range, or commit poetry.lock; to install nothing: --no-deps")
    parts = re.split(r"\s*,\s*|(?<=[\w*])\s+(?=[<>=!~^])", version.strip())
    return ",".join(filter(None, map(as_clause, parts)))


def as_clause(part: str) -> str:
    """Return one clause of a constraint."""
    found = re.fullmatch(r"(\^|~(?!=)|~=|===?|!=|<=?|>=?)?\s*v?(.+)", part.strip())
    operator, version = (found[1] or "", found[2].strip()) if found else ("", part)
    if version in ("*", ""):
        return ""
    if operator in ("^", "~"):
        return f">={version},<{next_version(version, caret=operator == '^')}"
    return f"{operator or '=='}{version}"


def next_version(version: str, *, caret: bool) -> str:
    """Return the first excluded version: ^ keeps the leftmost number other than 0, ~ the minor one."""
    found = NUMBERS.match(version)
    numbers = [int(part) for part in found[0].split(".")] if found else [0]
    nonzero = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    place = nonzero if caret else min(1, len(numbers) - 1)
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1]))
