"""Code shared by the programs: the argument parser, and the conversion of errors to one line.

Nothing here imports torch, so that `--help` and usage errors are instant.
"""

import argparse
import ctypes
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

from .errors import JobsError

T = TypeVar("T")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CONTROLS = (*range(9), *range(11, 32), *range(127, 160))
HIDDEN = {code: f"\\x{code:02x}" for code in CONTROLS} | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(128, 256)}
"""How to write control characters, and what Python makes of bytes that are no UTF-8: names of files may have both."""


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


def list_results(run: Path) -> tuple[Path, ...]:
    """Return the folders that may have a run's results: those of --out, and of a downloaded job."""
    return run, run / "outputs", run / "files", run / "files" / "outputs"


def visible(text: str) -> str:
    """Return text that can be shown anywhere: bytes and control characters by their numbers."""
    return text.translate(HIDDEN).encode(errors="backslashreplace").decode()


def say(text: str) -> None:
    """Print a line unbuffered, as the log may be followed; under torchrun only from the first process."""
    if os.environ.get("RANK", "0") == "0":
        print(visible(text), flush=True)


def check_folder(folder: Path) -> None:
    """Create an output folder; raises JobsError if it is not writable, before training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise JobsError(f"--out {folder}: cannot write there: {error.strerror}") from error


def check_file(path: Path) -> None:
    """Create the folder of an output file, and raise JobsError if the file cannot be written."""
    if path.is_dir():
        raise JobsError(f"--out {path}: is a folder; expected a file")
    check_folder(path.parent)


def run_program(name: str, body: Callable[[], T]) -> T:
    """Return what `body` returns; user errors print one line and exit with status 1."""
    try:
        return body()
    except (JobsError, OSError) as error:
        sys.exit(f"{name}: error: {visible(str(error))}")
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


def count_of(number: int, what: str, many: str = "") -> str:
    """Return a number with its noun, which for all but 1 is `many` or ends in s."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def names_of(values: Sequence[str], most: int = 8) -> str:
    """Join the first `most` names for a message."""
    shown = ", ".join(value.replace("\n", "\\n") for value in values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"
