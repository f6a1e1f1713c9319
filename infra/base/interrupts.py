"""Signals that mean "stop": raised as KeyboardInterrupt, and ignored during clean-up."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_stop() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that both clean up."""
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for SIGHUP to be ignored
            signal.signal(number, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature is signal's
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextmanager
def hold_interrupts(answer: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Call `answer` on stop signals: a second Ctrl-C must not abort the clean-up after the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def reply(*_: object) -> None:
        with suppress(RuntimeError):  # it arrived while the same stream was written to
            answer()

    before = {number: signal.signal(number, reply) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
