"""Faults that can be injected into the local cloud, for tests and demonstrations.

A fault is a name with a value, such as `boot=5`; it stays active until it is cleared or the cloud stops.
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
    """The format of its value."""
    pattern: str
    meaning: str
    many: bool = False
    """Whether several can be active; otherwise the latest replaces the previous one."""


VOCABULARY = {
    "no-capacity": Word(
        "TYPE[@ZONE]", r"[\w.*?-]+(@[\w*?-]+)?", "no capacity for this type (in this zone); * matches any", True
    ),
    "quota": Word("VCPUS", r"\d+", "set every EC2 quota of the account to this"),
    "unsettled": Word("COUNT", r"\d+", "the first fleets or groups of a cluster do not find its new security group"),
    "no-spot-role": Word("", "", "the account has no role for spot machines, and may not create it"),
    "spot-moves": Word("SECONDS", NUMBER, "spot prices change this often"),
    "partial": Word("COUNT", r"\d+", "a fleet launches at most this many machines"),
    "throttle": Word("PERCENT[:SEED]", PERCENT, "throttle this percentage of calls"),
    "errors": Word("PERCENT[:SEED]", PERCENT, "fail this percentage of calls with an internal error"),
    "busy": Word("PERCENT[:SEED]", PERCENT, "S3 answers this percentage of requests with SlowDown"),
    "latency": Word("MS", NUMBER, "delay every call by this many milliseconds"),
    "expired-after": Word(
        "CALLS|ACTION", r"\d+|[A-Z]\w+", "the credentials expire after this many calls, or after this action"
    ),
    "denied": Word("SERVICE:ACTION", r"[a-z0-9-]+:\w+", "the credentials do not have this permission", True),
    "closed": Word(
        "REGION", r"[a-z]{2}(-[a-z]+)+-\d", "a service control policy denies every call in this region", True
    ),
    "enabled": Word(
        "REGION", r"[a-z]{2}(-[a-z]+)+-\d", "only regions named like this are enabled for the account", True
    ),
    "slow": Word("REGION:SECONDS", r"[a-z]{2}(-[a-z]+)+-\d:\d+", "calls in this region take this long", True),
    "sessions": Word("", "", "the caller is a role with a new session name for each command"),
    "kill": Word("PID:CALL:before|after", KILL, "kill a process at a call: 7 (its 7th), or CreateTags.2", True),
    "fresh-profiles": Word("SECONDS", NUMBER, "EC2 does not know a new instance profile for this long"),
    "role-expires": Word("SECONDS", NUMBER, "credentials of machines expire after this long; on AWS after six hours"),
    "clock": Word("SECONDS", r"\+?\d+", "scheduled actions of Auto Scaling groups run this much earlier"),
    "boot": Word("SECONDS", NUMBER, "boot time: pending for the first half, unreachable for the second"),
    "dies": Word("SECONDS", NUMBER, "a machine is terminated this long after its launch"),
    "invisible": Word("SECONDS", NUMBER, "new instances are not found for this long"),
    "console": Word("SECONDS", NUMBER, "console output is empty for this long after the start"),
    "unarmed": Word("", "", "the user data of new machines fails, so that they have no lease"),
    "unarmable": Word("", "", "new machines have no lease, and none can be installed"),
    "unfinished": Word("", "", "the first boot of new machines never finishes"),
    "vpn": Word("", "", "this computer is in the network of every VPC, and reaches private addresses"),
    "mute": Word("", "", "SSH servers of new machines accept connections but never respond"),
    "freeze": Word(
        "RANK", r"\d+", "the node of this rank stops in the middle of everything, and answers nothing", True
    ),
    "drop": Word("BYTES", r"\d+", "connections to new machines break after this many bytes"),
    "released": Word("", "", "newer images than before have been released"),
    "reserved": Word("STATE", "[a-z-]+", "capacity reservations are in this state, such as payment-failed"),
    "scores": Word("REGION:SCORE", r"[a-z]{2}(-[a-z]+)+-\d:\d+", "the spot placement score of a region, 1 to 10", True),
    "foreign": Word("COUNT", r"\d+", "list this many of other people's instances first in each region"),
    "interrupt": Word(
        "SECONDS[@RANK]",
        rf"{NUMBER}(@\d+)?",
        "interrupt spot machines (or the node of this rank) with this much notice; AWS gives 120",
    ),
}


@dataclass(frozen=True)
class Fault:
    """One active fault."""

    word: str
    value: str

    def __str__(self) -> str:
        return f"{self.word}={self.value}" if self.value else self.word


def parse(text: str) -> Fault:
    """Parse a fault; raises ValueError, with what is valid, if there is no such fault."""
    name, _, value = text.partition("=")
    word = VOCABULARY.get(name)
    if word is None:
        raise ValueError(f"no fault '{name}'; available: {', '.join(VOCABULARY)}")
    if not re.fullmatch(word.pattern, value):
        raise ValueError(
            f"invalid value in '{text}'; expected {name}={word.form}" if word.form else f"'{name}' takes no value"
        )
    return Fault(name, value)


@dataclass(frozen=True)
class Faults:
    """The active faults."""

    _held: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Inject a fault."""
        with self._lock:
            kept = [one for one in self._held if VOCABULARY[one.word].many or one.word != fault.word]
            self._held[:] = [*kept, fault]

    def clear(self) -> None:
        """Clear all faults."""
        with self._lock:
            self._held.clear()

    def listing(self) -> list[str]:
        """List the active faults as they are written."""
        with self._lock:
            return [str(fault) for fault in self._held]

    def values(self, word: str) -> list[str]:
        """List the active values of a kind of fault."""
        with self._lock:
            return [fault.value for fault in self._held if fault.word == word]

    def value(self, word: str) -> str | None:
        """Return the active value of a kind of fault; None if inactive."""
        return next(iter(self.values(word)), None)

    def number(self, word: str) -> float | None:
        """Return the active number of a kind of fault; None if inactive."""
        value = self.value(word)
        return None if value is None else float(value)
