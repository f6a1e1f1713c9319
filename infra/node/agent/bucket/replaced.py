"""Keep what a job has removed until what replaces it is complete in the bucket.

A training keeps its newest checkpoint only: it removes the one before while the bucket still misses the new one, or a part of
it, and a machine that is lost then would leave no checkpoint, or half of one.
"""

from __future__ import annotations

import posixpath
from typing import Any, Iterable, Mapping

from ..outputs.hashing import Key
from .logs import is_log

Entries = Mapping[Key, "dict[str, Any]"]


def keep_replaced(before: Entries, now: Entries, pending: Iterable[str]) -> dict[Key, dict[str, Any]]:
    """Return the outputs `now` without new folders that are not complete, and those that these replace.

    `pending` names the outputs of which the bucket does not have the last version.
    """
    known = {path for _, path in before}
    awaited = {path for path in pending if path not in known and not is_log(path)}
    partial = {posixpath.dirname(path) for path in awaited} - {posixpath.dirname(path) for path in known} - {""}
    whole = {key: each for key, each in now.items() if key in before or posixpath.dirname(key[1]) not in partial}
    come = {place_of(path) for _, path in whole if path not in known}
    places = {place_of(path) for path in awaited} - come
    return {**{key: each for key, each in before.items() if place_of(key[1]) in places}, **whole}


def place_of(path: str) -> str:
    """Return the folder in which an output, or the folder that it is in, may be replaced by another one."""
    return posixpath.dirname(posixpath.dirname(path))
