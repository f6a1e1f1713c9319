"""Streams and files of this computer that fail while a job is followed: the job is not affected."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from infra.errors import GpujobError, ProjectError


def open_missing() -> None:
    """Open /dev/null for each standard stream that the caller closed (`>&-`).

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
    """Redirect standard output, which failed, to /dev/null: flushing it at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Copy:
    """A copy of a job's output in a file, given up if the disk is full: the rest can be downloaded later."""

    def __init__(self, file: BinaryIO, warn: Callable[[str], None]) -> None:
        self.descriptor = file.fileno()
        self.warn = warn
        self.whole = True

    def write(self, chunk: bytes) -> None:
        """Write a chunk, unless an earlier one could not be."""
        try:
            while chunk and self.whole:
                chunk = chunk[os.write(self.descriptor, chunk) :]
        except OSError as error:
            self.whole = False
            self.warn(f"job.log cannot be written here: {error.strerror}; the job is not affected")


@contextmanager
def outliving(number: int, follow: str) -> Iterator[None]:
    """Let an error of this computer's own say that the job is not affected, and how to `follow` it again."""
    try:
        yield
    except BrokenPipeError:
        raise
    except ProjectError as error:
        error.add_note(f"job {number} is not affected: it was submitted. Follow it: {follow}")
        raise
    except OSError as error:
        what = f"{error.filename or 'the output'} cannot be written here: {error.strerror}"
        raise GpujobError(f"{what}. Job {number} is not affected", follow) from error
