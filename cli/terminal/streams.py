"""Handle failing local streams and files while following a job, which is not affected."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from infra.errors import GpujobError, ProjectError


def open_missing() -> None:
    """Open /dev/null for each standard stream that was closed (`>&-`).

    Otherwise the next file or connection that is opened would become standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115  for good


def discard_output() -> None:
    """Redirect stdout, which failed, to /dev/null, so that flushing it at exit cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Copy:
    """Copies a job's output to a file until the first write error; the log can be downloaded later."""

    def __init__(self, file: BinaryIO, warn: Callable[[str], None]) -> None:
        self.descriptor = file.fileno()
        self.warn = warn
        self.whole = True

    def write(self, chunk: bytes) -> None:
        """Write a chunk, unless an earlier write failed."""
        try:
            while chunk and self.whole:
                chunk = chunk[os.write(self.descriptor, chunk) :]
        except OSError as error:
            self.whole = False
            self.warn(f"cannot write job.log on this computer: {error.strerror}; the job is not affected")


@contextmanager
def outliving(number: int, follow: str) -> Iterator[None]:
    """Add to local errors that the job is not affected, and the command to `follow` it again."""
    try:
        yield
    except BrokenPipeError:
        raise
    except ProjectError as error:
        error.add_note(f"job {number} is not affected: it was already submitted. Follow it: {follow}")
        raise
    except OSError as error:
        what = f"cannot write {error.filename or 'the output'} on this computer: {error.strerror}"
        raise GpujobError(f"{what}. Job {number} is not affected", follow) from error
