"""Signals that mean "stop": told as KeyboardInterrupt, and held off while something must be finished."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_stop() -> None:
    """Make a closed terminal and a polite kill mean what Ctrl-C means, so that both clean up."""
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for SIGHUP to be ignored
            signal.signal(number, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature is signal's
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Ignore the signals that mean "stop" within: a second Ctrl-C must not break off the clean-up after the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
