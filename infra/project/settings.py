"""The project's settings, gpujob.toml: what is uploaded, setup variables, and defaults of options."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.base.folders import read_plain
from infra.errors import UsageError

FILE = "gpujob.toml"
SYNC, FETCH = "sync", "fetch"
SETUP, VARIABLES = "setup", "variables"
DATA, FOLDERS = "data", "folders"


@dataclass(frozen=True)
class Settings:
    """The content of gpujob.toml."""

    include: tuple[str, ...] = ()
    """Patterns of files to upload though git ignores them."""
    exclude: tuple[str, ...] = ()
    """Patterns of files not to upload though git would commit them."""
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Defaults of options, by command: a table [up] with gpu = "A10G"."""
    outputs: tuple[str, ...] = ()
    """Further paths on the node to download: outside the working tree, or in a cache."""
    unwanted: tuple[str, ...] = ()
    """Patterns of outputs not to download."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the playbook: a table [setup.variables] with dotfiles_repository = "https://..."."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Where the data sets come from, by their paths in the project; a folder of the project comes from itself."""


def read_settings(root: Path) -> Settings:
    """Return a project's settings; raises UsageError for invalid TOML or unknown settings."""
    try:
        tables = tomllib.loads(read_plain(root / FILE).decode())
        json.dumps(tables, default=str)  # an integer of 5,000 digits can be read but not written
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {root / FILE}: {error}", "fix it, then rerun") from error
    sync = tables.pop(SYNC, {})
    if not isinstance(sync, dict) or set(sync) - {"include", "exclude"}:
        raise UsageError(f"{FILE}: [sync] accepts only include and exclude", 'exclude = ["notebooks/"]')
    for name, table in tables.items():
        if name != DATA and not isinstance(table, dict):
            raise UsageError(f"{FILE}: '{name}' is outside a table", 'write [up], and below it: gpu = "A10G"')
    data = read_data(tables.pop(DATA, {}))
    variables = tables.get(SETUP, {}).pop(VARIABLES, {})
    if not isinstance(variables, dict):
        raise UsageError(
            f"{FILE}: [setup] variables is not a table", 'write [setup.variables], and below it: name = "value"'
        )
    fetch = tables.get(FETCH, {})
    fetched = {
        name: fetch.pop(name) for name in ("also", "exclude") if name in fetch
    }  # the others are options of fetch
    include, exclude = (read_patterns(sync, SYNC, name) for name in ("include", "exclude"))
    for pattern in (*include, *exclude):
        check_pattern(root, pattern)
    return Settings(
        include=include,
        exclude=exclude,
        commands=tables,
        outputs=read_patterns(fetched, FETCH, "also"),
        unwanted=read_patterns(fetched, FETCH, "exclude"),
        variables=variables,
        data=data,
    )


def read_data(table: Any) -> dict[str, str]:
    """Return the table [data]; raises UsageError for paths outside the project, or inside one another."""
    example = '[data], and below it: "data/cats" = "~/pictures/cats", or: folders = ["data"]'
    folders = table.get(FOLDERS, []) if isinstance(table, dict) else None
    if not isinstance(folders, list):  # there may be a data set at the path "folders"
        folders = []
    else:
        table = {name: value for name, value in table.items() if name != FOLDERS}
    if not isinstance(table, dict) or not all(isinstance(each, str) for each in (*table.values(), *folders)):
        raise UsageError(f"{FILE}: [{DATA}] must map paths to the sources of their files", f"write {example}")
    found = {**{name: name for name in folders}, **table}
    data = {name.removeprefix("./").rstrip("/"): address for name, address in found.items()}
    for name in data:
        if not is_plain(name):
            raise UsageError(
                f"{FILE}: [{DATA}] {name!r} is not a path in the project", 'write "data/cats" = "/where/it/is"'
            )
        inner = next((other for other in data if other.startswith(f"{name}/")), None)
        if inner:
            raise UsageError(
                f"{FILE}: [{DATA}] '{inner}' is inside '{name}'", "use paths that are not inside one another"
            )
    return data


def is_plain(path: str) -> bool:
    """Return whether a path is relative, consists of plain names, and is not git's or gpujob's."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and not set(path) & set("\0\r\n") and parts[0] not in (".git", "runs", FILE)


def read_patterns(table: Mapping[str, Any], title: str, name: str) -> tuple[str, ...]:
    """Return a table's list of patterns."""
    patterns = table.get(name, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(f"{FILE}: [{title}] {name} is not a list of patterns", f'{name} = ["data/labels.csv"]')
    return tuple(patterns)


def check_pattern(root: Path, pattern: str) -> None:
    """Raise UsageError for a pattern outside the project or of several lines.

    As in .gitignore, a leading slash means the project's folder, so an absolute path would match nothing.
    """
    parts = pattern.removeprefix("!").split("/")
    absolute = parts[0] == "" and len(parts) > 2 and Path("/", parts[1]).is_dir() and not (root / parts[1]).exists()
    if ".." in parts or parts[0].startswith("~") or absolute:
        raise UsageError(
            f"{FILE}: [sync] {pattern!r} is outside the project; patterns are relative to its folder",
            "copy the file into the project and list that path",
        )
    if set(pattern) & set("\0\r\n"):
        raise UsageError(f"{FILE}: [sync] {pattern!r} has more than one line", 'include = ["data/labels.csv"]')
