"""Requests to stop: a spot notice, the end of the lease, a cancelled job, Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):  # noqa: N818  it is not an error
    """Training was stopped by a signal, whose number is `signal`; the run is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.signal = number


@dataclass
class Stop:
    """Whether a signal asked training to stop: the step is finished first."""

    asked: int = 0
    """The signal's number; 0 if none arrived."""

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is Python's
        """Record the signal; a second one ends the process at once."""
        self.asked = number
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def listening() -> Iterator[Stop]:
    """Yield a Stop that records SIGTERM and Ctrl-C; restore the previous handlers at the end."""
    stop = Stop()
    previous = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: one that was not set from Python
