"""Being asked to end: a spot notice, a lease, a cancel, Ctrl-C."""

import signal
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):  # noqa: N818  it is no error
    """A signal asked for the end; the run is saved, and its number is `signal`."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.signal = number


@dataclass
class Stop:
    """Whether SIGTERM or Ctrl-C asked for the end: the step is finished first. A second one ends at once."""

    asked: int = 0

    def listen(self) -> "Stop":
        """Take the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)
        return self

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is Python's
        """Note the signal."""
        self.asked = number
        signal.signal(number, signal.SIG_DFL)
