"""What the local cloud can be told to get wrong, for tests and for demonstration.

A fault is a word with a value, `boot=5`; it holds from the moment it is set until it is cleared or the cloud ends.
"""

import re
import threading
from dataclasses import dataclass, field

NUMBER = r"\d+(\.\d+)?"
KILL = r"\d+:(\d+|[A-Z]\w+(\.\d+)?):(before|after)"
PERCENT = r"(100|\d?\d)(:\d+)?"


@dataclass(frozen=True)
class Word:
    """A kind of fault."""

    form: str
    """How its value is written."""
    pattern: str
    meaning: str
    many: bool = False
    """Whether several can hold at once; otherwise the latest replaces the one before."""


VOCABULARY = {
    "no-capacity": Word("TYPE[@ZONE]", r"[\w.*?-]+(@[\w*?-]+)?", "no such machine is free there; * is any", True),
    "quota": Word("VCPUS", r"\d+", "every EC2 quota of the account"),
    "partial": Word("COUNT", r"\d+", "a fleet gets at most this many machines"),
    "throttle": Word("PERCENT[:SEED]", PERCENT, "so many calls of a hundred are throttled"),
    "errors": Word("PERCENT[:SEED]", PERCENT, "so many calls of a hundred end with AWS's internal error"),
    "latency": Word("MS", NUMBER, "every call takes so many milliseconds longer"),
    "expired-after": Word(
        "CALLS|ACTION", r"\d+|[A-Z]\w+", "the credentials expire after this many calls, or after this one"
    ),
    "denied": Word("SERVICE:ACTION", r"[a-z0-9-]+:\w+", "the credentials may not do this", True),
    "closed": Word(
        "REGION", r"[a-z]{2}(-[a-z]+)+-\d", "an organisation's policy denies every call in this region", True
    ),
    "enabled": Word("REGION", r"[a-z]{2}(-[a-z]+)+-\d", "the account has only the regions that are named so", True),
    "sessions": Word("", "", "the caller is a role whose session has another name at each command"),
    "kill": Word("PID:CALL:before|after", KILL, "a process is killed at its 7th call, or at CreateTags.2", True),
    "boot": Word("SECONDS", NUMBER, "a machine is pending for half of this, then silent for the other half"),
    "dies": Word("SECONDS", NUMBER, "a machine is terminated this long into its boot"),
    "invisible": Word("SECONDS", NUMBER, "EC2 denies for this long that a new instance exists"),
    "console": Word("SECONDS", NUMBER, "the console output is empty for this long after the machine runs"),
    "mute": Word("", "", "the SSH servers of new machines accept, and never say a word"),
    "drop": Word("BYTES", r"\d+", "each connection to a new machine breaks after this many bytes"),
    "foreign": Word("COUNT", r"\d+", "so many instances of somebody else are listed before ours in each region"),
    "interrupt": Word("SECONDS", NUMBER, "spot machines get notice, and end after this long; AWS gives 120"),
}


@dataclass(frozen=True)
class Fault:
    """One fault that holds."""

    word: str
    value: str

    def __str__(self) -> str:
        return f"{self.word}={self.value}" if self.value else self.word


def parse(text: str) -> Fault:
    """Read a fault; raises ValueError, with what would fit, for what is none."""
    name, _, value = text.partition("=")
    word = VOCABULARY.get(name)
    if word is None:
        raise ValueError(f"'{name}' is no fault; there are: {', '.join(VOCABULARY)}")
    if not re.fullmatch(word.pattern, value):
        raise ValueError(f"'{text}' does not fit: {name}={word.form}" if word.form else f"'{name}' takes no value")
    return Fault(name, value)


@dataclass(frozen=True)
class Faults:
    """The faults that hold."""

    _held: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Let a fault hold."""
        with self._lock:
            kept = [one for one in self._held if VOCABULARY[one.word].many or one.word != fault.word]
            self._held[:] = [*kept, fault]

    def clear(self) -> None:
        """Let none hold."""
        with self._lock:
            self._held.clear()

    def listing(self) -> list[str]:
        """List those that hold, as they are written."""
        with self._lock:
            return [str(fault) for fault in self._held]

    def values(self, word: str) -> list[str]:
        """List the values that hold for a word."""
        with self._lock:
            return [fault.value for fault in self._held if fault.word == word]

    def value(self, word: str) -> str | None:
        """Return the value that holds for a word; None where none does."""
        return next(iter(self.values(word)), None)

    def number(self, word: str) -> float | None:
        """Return the number that holds for a word; None where none does."""
        value = self.value(word)
        return None if value is None else float(value)
