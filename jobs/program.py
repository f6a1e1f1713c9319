"""Code shared by the programs: the argument parser, and the conversion of errors to one line.

Nothing here imports torch, so that `--help` and usage errors are instant.
"""

import argparse
import ctypes
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from .errors import JobsError

T = TypeVar("T")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Parser(argparse.ArgumentParser):
    """A parser that prints errors as one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def number(kind: type, least: float = -math.inf, most: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """Return a parser for numbers of `kind` from `least` (or `above` it) to `most`; no nan or inf."""

    def parse(text: str) -> float:
        try:
            value: float = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {'a whole' if kind is int else 'a'} number") from None
        if not (least < value if above else least <= value) or not value <= most or not math.isfinite(value):
            bound = f"{'above' if above else 'at least'} {least:g}" + (f", at most {most:g}" if most < math.inf else "")
            raise argparse.ArgumentTypeError(f"{text}: must be {bound}")
        return value

    return parse


def duration(text: str) -> float:
    """Return a duration such as 90, 90s, 10m or 1h30m in seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = sum(float(count) * UNITS[unit or "s"] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != text or not seconds > 0:
        raise argparse.ArgumentTypeError(f"invalid duration '{text}'; expected 90s, 10m or 1h30m")
    return seconds


def levels(text: str) -> tuple[float, float]:
    """Return the two numbers of LOW:HIGH."""
    low, _, high = text.partition(":")
    with suppress(ValueError):
        if math.isfinite(float(low)) and float(low) < float(high) < math.inf:
            return float(low), float(high)
    raise argparse.ArgumentTypeError(f"invalid range '{text}'; expected LOW:HIGH, such as 0:4095")


def default_out() -> Path:
    """Return the default output folder: the one that gpujob provides, otherwise `outputs`."""
    return Path(os.environ.get("GPUJOB_OUTPUTS") or "outputs")


def say(text: str) -> None:
    """Print a line unbuffered, as the log may be followed; under torchrun only from the first process."""
    if os.environ.get("RANK", "0") == "0":
        # A file's name may not be valid UTF-8.
        print(text.encode(errors="surrogateescape").decode(errors="backslashreplace"), flush=True)


def run_program(name: str, body: Callable[[], T]) -> T:
    """Return what `body` returns; user errors print one line and exit with status 1."""
    try:
        return body()
    except (JobsError, OSError) as error:
        sys.exit(f"{name}: error: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def keep_memory() -> None:
    """Keep freed memory in this process, in huge pages: each step allocates the same megabytes.

    By default glibc returns blocks above 32 MB to the system immediately and faults them in again page by page. Call this
    before importing torch, which reads the variable at its first allocation. Without glibc it does nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def count_of(number: int, what: str) -> str:
    """Return a number with its noun, which ends in s for all but 1."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def names_of(values: Sequence[str], most: int = 8) -> str:
    """Join the first `most` names for a message."""
    shown = ", ".join(values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"
