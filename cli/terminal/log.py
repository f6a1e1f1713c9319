"""The log of a command: one file per command in the state folder, created on the first record.

It records AWS calls, SSH steps, their timings and the traceback of an unexpected error. It contains no secrets: every
line goes through `infra.base.redaction`, and nothing logs parameters, user data or variables.
"""

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from cli.terminal import show
from infra.base import redaction
from infra.state import logs_folder, state_folder

KEPT = 20
"""How many of the latest files are kept."""
MOST_BYTES = 1 << 20
"""Maximum size of a file; later records are dropped."""
LOGGERS = ("cli", "infra")
log = logging.getLogger(__name__)


class Plain(logging.Formatter):
    """Formatter that removes secrets and control characters from records and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return show.plain(redaction.redact(super().format(record)))


class LogFile(logging.FileHandler):
    """A private log file, created on the first record; failing to write to it is ignored."""

    def __init__(self, command: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H-%M-%S")
        super().__init__(logs_folder() / f"{moment}-{command}-{os.getpid()}.log", encoding="utf-8", delay=True)
        self.command = command

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        (state_folder() / path.parent.name).mkdir(mode=0o700, exist_ok=True)
        for old in sorted(path.parent.glob("*.log"))[: 1 - KEPT]:
            old.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        file = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
        file.write(f"gpujob {self.command}, Python {sys.version.split()[0]}, {sys.platform}\n")
        return file

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless the file has reached its maximum size."""
        with suppress(OSError, ValueError):
            if self.stream is None or self.stream.tell() < MOST_BYTES:
                super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        """Continue without the log."""


class OnStderr(logging.Handler):
    """Handler for --verbose."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        with suppress(OSError):
            show.say(self.format(record))


def start(command: str, verbose: bool) -> None:
    """Start logging, also to stderr if `verbose`."""
    redaction.hide_environment()
    handlers: list[logging.Handler] = [LogFile(command), *([OnStderr()] if verbose else [])]
    for handler in handlers:
        handler.setFormatter(Plain("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
    threading.excepthook = record_in_thread


def record_in_thread(failure: threading.ExceptHookArgs) -> None:
    """Log the exception that ended a thread; the caller reports it."""
    if failure.exc_type is not SystemExit:
        log.error("a thread failed", exc_info=failure.exc_value)


def record_error(error: BaseException) -> None:
    """Log an error that was shown to the user, with its causes."""
    log.debug("failed", exc_info=error)


def record_crash(error: BaseException) -> Path | None:
    """Log an unexpected error with its traceback; return the log file, or None."""
    log.critical("unexpected error", exc_info=error)
    files = (
        [Path(handler.baseFilename) for handler in log.parent.handlers if isinstance(handler, LogFile)]
        if log.parent
        else []
    )
    return next((file for file in files if file.exists()), None)


def find_last() -> Path | None:
    """Return the latest log of another command, or None."""
    mine = f"-{os.getpid()}.log"
    return max((file for file in logs_folder().glob("*.log") if not file.name.endswith(mine)), default=None)
