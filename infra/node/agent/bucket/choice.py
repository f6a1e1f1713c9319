"""Which outputs a manifest names, so that it is a state that the job's disk may have had.

Files are complete at different times, and large ones are uploaded for a while. A job that removes a checkpoint once the next
one is written always has a whole one on its disk, and so must the bucket.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

from ..outputs.hashing import Key, key_of
from .history import History

Entry = Mapping[str, Any]
Find = Callable[[Entry], "dict[str, Any] | None"]
"""Returns an output with the object that has its content, or a recent one of the same name; None without any."""


class Choice(NamedTuple):
    """What a manifest names."""

    entries: list[dict[str, Any]]
    late: bool
    """Whether an output has not arrived in the bucket yet."""


def choose(outputs: Iterable[Entry], find: Find, before: Iterable[dict[str, Any]], history: History) -> Choice:
    """Return what the manifest after one with the entries `before` names, while the job runs.

    An output that is late stays as it was. A new folder is named once all in it is there, and what was removed stays while
    anything is to come that may take its place.
    """
    then = {key_of(each): each for each in before}
    kept, late = locate(outputs, find)
    fresh = {(outside, name) for name in history.unfinished if history.is_fresh(name) for outside in (False, True)}
    folders = {folder for key in then for folder in folders_of(key)}
    held = {find_new(key, folders) for key in late | fresh} - {None}
    kept = {key: each for key, each in kept.items() if not held or find_new(key, folders) not in held}
    history.note(kept, late, then)
    now = {folder for key in kept for folder in folders_of(key)}
    for key, each in then.items():
        wanted = key not in history.removed or history.is_awaited(key)
        if wanted and key not in kept and key not in now and not kept.keys() & set(folders_of(key)):
            kept[key] = each
    return Choice(list(kept.values()), bool(late))


def choose_last(outputs: Iterable[Entry], find: Find, before: Iterable[dict[str, Any]]) -> Choice:
    """Return what the manifest of a job that has ended names: its outputs, late ones as they were."""
    then = {key_of(each): each for each in before}
    kept, late = locate(outputs, find)
    kept.update({key: then[key] for key in late if key in then and key not in kept})
    return Choice(list(kept.values()), bool(late))


def locate(outputs: Iterable[Entry], find: Find) -> tuple[dict[Key, dict[str, Any]], set[Key]]:
    """Return the outputs that the bucket has, and which of them it has in an older version or not at all."""
    kept: dict[Key, dict[str, Any]] = {}
    late: set[Key] = set()
    for each in outputs:
        key = key_of(each)
        if each["link"] is not None or not each["size_bytes"]:
            kept[key] = {**each, "object": "", "offset": 0}
            continue
        found = find(each)
        if found:
            kept[key] = found
        if not found or found["sha256"] != each["sha256"]:
            late.add(key)
    return kept, late


def folders_of(key: Key) -> Iterator[Key]:
    """Yield the folders around an output, the outermost first."""
    outside, path = key
    at = path.find("/")
    while at >= 0:
        yield outside, path[:at]
        at = path.find("/", at + 1)


def find_new(key: Key, folders: set[Key]) -> Key | None:
    """Return the outermost folder around an output that is not one of these."""
    return next((folder for folder in folders_of(key) if folder not in folders), None)
