"""The value of --array: 0-99, 1,3,7-9, 0-99:10, each also with %8 for how many run at a time."""

import re
from dataclasses import dataclass

from cli.options.context import launcher_here
from infra.errors import UsageError
from infra.model import MOST_TASKS

RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?", re.ASCII)
LIMIT = re.compile("0*[1-9][0-9]{0,8}", re.ASCII)
EXAMPLE = "gpujob run --array 0-99%8 ..."


@dataclass(frozen=True)
class Indices:
    """Which tasks run, and how many at a time."""

    chosen: tuple[int, ...]
    """Each once, in the order typed; empty for all tasks of a grid."""
    at_once: int | None = None


def parse_indices(text: str) -> Indices:
    """Parse the value of --array; raises UsageError."""
    ranges, percent, limit = (part.strip() for part in text.partition("%"))
    if percent and not LIMIT.fullmatch(limit):
        raise UsageError(f"--array {text}: after % comes how many tasks run at a time", EXAMPLE)
    parsed = [parse_range(part.strip(), text) for part in ranges.split(",")] if ranges or not percent else []
    if sum(map(len, parsed)) > MOST_TASKS:
        raise UsageError(f"--array {text}: an array has at most {MOST_TASKS:,} tasks", EXAMPLE)
    return Indices(tuple(dict.fromkeys(at for each in parsed for at in each)), int(limit) if percent else None)


def parse_range(part: str, whole: str) -> range:
    """Return the indices of a part between commas; raises UsageError."""
    found = RANGE.fullmatch(part)
    if found is None:
        what = f"'{part}' is neither an index nor a range" if part else "an index is missing"
        raise UsageError(f"--array {whole}: {what}, such as 0-99 or 1,3,7-9", EXAMPLE)
    first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    if last < first:
        raise UsageError(
            f"--array {whole}: {part} ends before it begins", f"{launcher_here()} --array {last}-{first} ..."
        )
    if step < 1:
        raise UsageError(f"--array {whole}: a step is 1 or more", EXAMPLE)
    return range(first, last + 1, step)
