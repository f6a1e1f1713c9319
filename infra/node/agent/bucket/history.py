"""What earlier rounds have found, which decides how long a manifest names what the job has removed.

A checkpoint may take hours to be written, and a file that has nothing to do with it may be written as long as the job runs. So
what was removed waits only for what began while it was there or after its removal, and until as many bytes have come.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Iterable, Mapping, NamedTuple

from ..outputs.hashing import Key, key_of
from .logs import is_log

LASTING = 3
"""What was removed waits for what begins no more rounds than this after nothing was to come."""


class Removal(NamedTuple):
    """Since when an output is known to be removed, and how many bytes had come until then."""

    round: int
    came_bytes: int
    size_bytes: int
    until: int
    """The last round that found something unfinished that may take its place."""


class History:
    """The rounds of an attempt, as far as this process has seen them."""

    def __init__(self) -> None:
        """Start before the first round."""
        self.round = 0
        self.unfinished: dict[str, int] = {}
        """Since which round each file has been unfinished."""
        self.writing: set[int] = set()
        """In which rounds those began that are no logs."""
        self.late: dict[Key, int] = {}
        """Since which round the bucket has not had the content of each output."""
        self.uploading: set[int] = set()
        """In which rounds these uploads began."""
        self.whole: dict[Key, int] = {}
        """Since which round each output has been complete."""
        self.removed: dict[Key, Removal] = {}
        self.gone_bytes: Counter[int] = Counter()
        """How much was removed in each round, of what still waits."""
        self.came_bytes = 0
        """How much was named in all rounds together, without logs."""

    def begin(self, outputs: Iterable[Mapping[str, Any]], unfinished: Iterable[str]) -> None:
        """Begin a round, which has found these complete outputs, and these names of unfinished ones."""
        self.round += 1
        self.unfinished = {name: self.unfinished.get(name, self.round) for name in unfinished}
        self.writing = {since for name, since in self.unfinished.items() if not is_log(name)}
        for each in outputs:
            self.whole.setdefault(key_of(each), self.round)

    def is_fresh(self, name: str) -> bool:
        """Return whether this round is the first that found a file unfinished; nothing waits for a log."""
        return self.unfinished.get(name) == self.round and not is_log(name)

    def note(self, kept: Mapping[Key, Any], late: Iterable[Key], then: Mapping[Key, Any]) -> None:
        """Note which outputs are named or late now, after a manifest that named `then`."""
        self.late = {key: self.late.get(key, self.round) for key in late}
        self.uploading = {*self.late.values()}
        self.whole = {key: since for key, since in self.whole.items() if key in then or key in kept or key in self.late}
        removed = {}
        for key, each in then.items():
            if not (key in kept or key in self.late or key[1] in self.unfinished):
                first = Removal(self.round, self.came_bytes, each["size_bytes"], self.round)
                removed[key] = self.removed.get(key, first)
        self.removed = removed
        self.came_bytes += sum(
            each["size_bytes"]
            for key, each in kept.items()
            if not is_log(key[1]) and (key not in then or then[key]["sha256"] != each["sha256"])
        )
        self.gone_bytes = Counter()
        for removal in removed.values():
            self.gone_bytes[removal.round] += max(removal.size_bytes, 1)
        for key, removal in removed.items():
            if self.is_being_replaced(key):
                removed[key] = removal._replace(until=self.round)

    def is_awaited(self, key: Key) -> bool:
        """Return whether something is still to come that may take the place of what was removed."""
        return self.overlaps(key, self.uploading) or self.is_being_replaced(key)

    def is_being_replaced(self, key: Key) -> bool:
        """Return whether what is being written may replace what was removed: not all has come yet."""
        removal = self.removed[key]
        replaced = self.came_bytes - removal.came_bytes >= self.gone_bytes[removal.round]
        return not replaced and self.overlaps(key, self.writing)

    def overlaps(self, key: Key, begun: set[int]) -> bool:
        """Return whether one of these rounds lies between an output's first and soon after its removal."""
        first, last = self.whole.get(key, 0) - 1, self.removed[key].until + LASTING
        return any(first <= since <= last for since in begun)
