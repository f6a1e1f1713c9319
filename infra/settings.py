"""The project's own settings, gpujob.toml: what travels, how machines are set up, and defaults of the commands' options."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import UsageError

FILE = "gpujob.toml"
SYNC, FETCH = "sync", "fetch"
SETUP, VARIABLES = "setup", "variables"


@dataclass(frozen=True)
class Settings:
    """What gpujob.toml says."""

    include: tuple[str, ...] = ()
    """Patterns of files that travel though git ignores them."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that do not, though git would take them."""
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Defaults of options, by command: a table [up] with gpu = "A10G"."""
    outputs: tuple[str, ...] = ()
    """Paths on the node that are downloaded though they lie outside of the working tree, or in a cache."""
    unwanted: tuple[str, ...] = ()
    """Patterns of outputs that are not downloaded."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the playbook: a table [setup.variables] with dotfiles_repository = "https://..."."""


def read_settings(root: Path) -> Settings:
    """Return a project's settings; raises UsageError for a file that is no TOML or says what nobody knows."""
    try:
        tables = tomllib.loads((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise UsageError(f"{root / FILE} cannot be read: {error}", "mend it, then type it again") from error
    sync = tables.pop(SYNC, {})
    if not isinstance(sync, dict) or set(sync) - {"include", "exclude"}:
        raise UsageError(f"{FILE}: [sync] knows include and exclude", 'exclude = ["notebooks/"]')
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{FILE}: '{name}' stands outside of a table", '[up], then below it: gpu = "A10G"')
    variables = tables.get(SETUP, {}).pop(VARIABLES, {})
    if not isinstance(variables, dict):
        raise UsageError(f"{FILE}: [setup] variables is no table", '[setup.variables], then below it: name = "value"')
    fetch = tables.get(FETCH, {})
    fetched = {name: fetch.pop(name) for name in ("also", "exclude") if name in fetch}  # the rest are options of fetch
    return Settings(
        include=read_patterns(sync, SYNC, "include"),
        exclude=read_patterns(sync, SYNC, "exclude"),
        commands=tables,
        outputs=read_patterns(fetched, FETCH, "also"),
        unwanted=read_patterns(fetched, FETCH, "exclude"),
        variables=variables,
    )


def read_patterns(table: Mapping[str, Any], title: str, name: str) -> tuple[str, ...]:
    """Return a list of patterns of a table with this title."""
    patterns = table.get(name, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(f"{FILE}: [{title}] {name} is not a list of patterns", f'{name} = ["data/labels.csv"]')
    return tuple(patterns)
