"""Lines of a listing that can be sorted by any column."""

import difflib
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from infra.errors import UsageError

SHOWN_METRICS = 8


class Line(NamedTuple):
    """A line of a listing: what each column shows, and what it is sorted by."""

    shown: dict[str, str]
    values: dict[str, Any]


def choose_names(metrics: Sequence[dict[str, float]], others: Sequence[str]) -> list[str]:
    """Return the most common metrics, in order of first appearance, except other columns."""
    counts: dict[str, int] = {}
    for last in metrics:
        for name in last:
            counts[name] = counts.get(name, 0) + 1
    most = sorted(counts, key=lambda name: -counts[name])[:SHOWN_METRICS]
    return [name for name in counts if name in most and name not in others]


def sort_lines(lines: Sequence[Line], column: str, known: Sequence[str], command: str, usual: str) -> list[int]:
    """Return the order by a column, reversed with a minus before its name, empty values last.

    Raises UsageError for an unknown column, which suggests `command` with a similar one or the `usual`.
    """
    name, descending = column.removeprefix("-"), column.startswith("-")
    if name not in known:
        near = [*difflib.get_close_matches(name, known, 1), usual][0]
        hint = f"{command} --sort {shlex.quote('-' * descending + near)}"
        raise UsageError(f"no column '{name}'; available: {', '.join(known)}", hint)
    values = [line.values[name] for line in lines]
    filled = [at for at, value in enumerate(values) if value not in (None, "")]
    filled.sort(key=lambda at: values[at], reverse=descending)
    return [*filled, *(at for at in range(len(lines)) if at not in set(filled))]
