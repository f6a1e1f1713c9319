"""Read TOML, which Python can do itself only from 3.11 on."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Sequence

READERS = ("tomllib", "tomli", "pip._vendor.tomli")
READ = f"""
import importlib, json, sys
for name in {READERS!r}:
    try:
        reader = importlib.import_module(name)
    except ImportError:
        continue
    with open(sys.argv[1], "rb") as file:
        print(json.dumps(reader.load(file), default=str))
    break
"""
Table = Dict[str, Any]


def read_toml(path: Path, pythons: Sequence[str]) -> Table | None:
    """Parse a TOML file, with one of `pythons` if this interpreter is too old for it.

    Returns None if the file is invalid, or if none of the interpreters can read TOML.
    """
    if sys.version_info >= (3, 11):
        reader = importlib.import_module("tomllib")
        try:
            return dict(reader.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            return None
    for python in pythons:
        answer = subprocess.run([python, "-I", "-c", READ, str(path)], capture_output=True, check=False)
        if answer.returncode == 0 and answer.stdout:
            return dict(json.loads(answer.stdout))
    return None


def find_table(table: Table, *names: str) -> Table:
    """Return a table inside tables; empty if it is missing, or not a table."""
    for name in names:
        inner = table.get(name)
        table = inner if isinstance(inner, dict) else {}
    return table
