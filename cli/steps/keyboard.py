"""The terminal of this computer as the input of a job."""

import os
import re
import select
import shutil
import signal
import sys
import termios
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from infra.errors import UsageError
from infra.model import Terminal
from infra.node.attached import AttachedTerminal

DETACH, DETACH_KEY = b"\x1d", "Ctrl-]"
KIND = re.compile(r"[\w.+-]{1,64}")
READ_BYTES = 1024


def describe_terminal() -> Terminal:
    """Return the terminal of this computer; raises UsageError if there is none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "--interactive needs a terminal for input and output", "omit --interactive, or the redirection"
        )
    size, kind = shutil.get_terminal_size(), os.environ.get("TERM", "")
    return Terminal(size.columns, size.lines, kind if KIND.fullmatch(kind) else "xterm")


class Keyboard:
    """Passes each key on to a job, even Ctrl-C; only `DETACH_KEY` interrupts this process."""

    def __init__(self) -> None:
        size = shutil.get_terminal_size()
        self.terminal = AttachedTerminal(size.columns, size.lines)
        self.before: list[Any] = []

    def __enter__(self) -> Self:
        self.before = termios.tcgetattr(0)
        self.wake, self.waker = os.pipe()
        now = termios.tcgetattr(0)
        # Output is processed as before: a job's log has plain line ends.
        now[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
        now[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSADRAIN, now)
        self.handler = signal.signal(signal.SIGWINCH, self.resize)
        self.reader = threading.Thread(target=self.read, name="keyboard", daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        signal.signal(signal.SIGWINCH, self.handler)
        os.close(self.waker)
        self.reader.join()
        os.close(self.wake)
        with suppress(termios.error, OSError):  # the terminal was closed
            termios.tcsetattr(0, termios.TCSADRAIN, self.before)

    def resize(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is signal's
        """Send the new size of the window."""
        size = shutil.get_terminal_size()
        # Not here: the signal may interrupt the code that holds the connection's lock.
        threading.Thread(target=self.terminal.resize, args=(size.columns, size.lines), daemon=True).start()

    def read(self) -> None:
        """Pass keys on until the end, which is a closed terminal or the detach key."""
        with suppress(OSError):
            while self.wake not in select.select([0, self.wake], [], [])[0]:
                data, detach, _ = os.read(0, READ_BYTES).partition(DETACH)
                if data:
                    self.terminal.type(data)
                if detach:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                if detach or not data:
                    return
