"""Metrics of a run: from a metrics file among its outputs, otherwise from its log.

A metrics file has one of the names in NAMES; the one in the fewest folders counts, then the first in that order. A CSV file or a
list of JSON objects has a row per epoch or step; a JSON object has a column per key. In a log, `name value`, `name=value` and
`name: value` count if the value has a decimal point: `loss 0.333 accuracy 0.91`. Numbers that only count, such as the
epoch, are left out.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from keyword import iskeyword
from pathlib import PurePosixPath
from typing import Any

from infra.history.runs import Run
from infra.results.folder import LOG

NAMES = tuple(f"{name}.{kind}" for name in ("metrics", "history", "log") for kind in ("jsonl", "csv", "json"))
POSITIONS = frozenset(("", "epoch", "step", "iteration", "iter", "batch", "time", "timestamp"))
NAME = re.compile(r"[A-Za-z][\w./ @-]{0,39}", re.ASCII)  # shown as headings
MOST_BYTES, MOST_NAMES, MOST_ROWS = 4 << 20, 32, 100_000
PAIR = re.compile(
    r"(?<![\w./-])([A-Za-z][\w./-]{0,39}?)(?:[\"']?\s*[=:]\s*|\s+)"
    r"([-+]?(?:\d{1,20}\.\d{0,20}|\.\d{1,20})(?:e[-+]?\d{1,3})?|[-+]?\d{1,20}e[-+]?\d{1,3})"
    r"(?=%?\.?(?:[\s,;|)\]}]|$))(?!\s*(?:s|ms|sec|min|h|[kMG]i?B)\b)",
    re.ASCII | re.IGNORECASE,
)
Metrics = Mapping[str, tuple[float, ...]]
"""The values of each metric in order."""


def read_metrics(run: Run) -> Metrics:
    """Return the metrics of a run; empty if it has none, or is an array, whose tasks have them."""
    return {} if run.job.tasks else choose_metrics(run, run.find_outputs(NAMES), PurePosixPath(LOG))


def choose_metrics(run: Run, files: Iterable[PurePosixPath], log: PurePosixPath) -> Metrics:
    """Return the metrics in the first of these outputs of a run that has any, otherwise those in a log."""
    for path in files:
        content = run.read_end(PurePosixPath(run.files, path), MOST_BYTES + 1)
        if len(content) <= MOST_BYTES and (found := collect(read_rows(path.suffix, content))):
            return found
    text = run.read_end(log, MOST_BYTES).decode(errors="replace")
    return collect(read_pairs(line) for line in re.split(r"[\r\n]+", text))


def last_metrics(metrics: Metrics) -> dict[str, float]:
    """Return the last value of each metric."""
    return {name: values[-1] for name, values in metrics.items()}


def read_rows(suffix: str, content: bytes) -> Iterator[Mapping[Any, Any]]:
    """Yield the rows of a metrics file; what cannot be read is left out."""
    text = content.decode("utf-8-sig", errors="replace")
    try:
        if suffix == ".csv":
            yield from csv.DictReader(io.StringIO(text), skipinitialspace=True)
        elif suffix == ".jsonl":
            for line in text.splitlines():
                yield from as_rows(read_json(line))
        else:
            yield from as_rows(read_json(text))
    except csv.Error:
        return


def read_json(text: str) -> Any:
    """Return parsed JSON; None if it is invalid, as is the last line of a file that is being written."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_rows(found: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield the rows in parsed JSON: a list of objects, an object of lists, or one row."""
    if isinstance(found, list):
        yield from (row for row in found if isinstance(row, dict))
    elif isinstance(found, dict) and any(isinstance(value, list) for value in found.values()):
        columns = {name: value for name, value in found.items() if isinstance(value, list)}
        for at in range(max(map(len, columns.values()))):
            yield {name: values[at] for name, values in columns.items() if at < len(values)}
    elif isinstance(found, dict):
        yield found


def read_pairs(line: str) -> dict[str, str]:
    """Return the names and decimal numbers in a line of a log; `else 0.1` comes from a traceback."""
    return {found[1]: found[2] for found in PAIR.finditer(line[:1000]) if not iskeyword(found[1])}


def collect(rows: Iterable[Mapping[Any, Any]]) -> Metrics:
    """Return the finite numbers of rows by name."""
    found: dict[str, list[float]] = {}
    for _, row in zip(range(MOST_ROWS), rows, strict=False):
        for name, value in row.items():
            if not isinstance(name, str) or not is_name(name := name.strip()):
                continue
            number = as_number(value)
            if number is not None and (name in found or len(found) < MOST_NAMES):
                found.setdefault(name, []).append(number)
    return {name: tuple(values) for name, values in found.items()}


def is_name(name: str) -> bool:
    """Return whether a metric can be shown by this name, and is not just a counter."""
    return NAME.fullmatch(name) is not None and name.lower() not in POSITIONS


def as_number(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
