"""Sizes, times and counts as text."""

import time
from datetime import UTC, datetime


def size(count: int) -> str:
    """Return a number of bytes: 1 byte, 1.5 kB, 2.0 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return plural(count, "byte") if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def memory(count: int) -> str:
    """Return an amount of memory, which comes in powers of two: 512 MiB, 15.4 GiB."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def duration(seconds: float) -> str:
    """Return a length of time in at most two units: 1 h 5 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    days, hours = divmod(hours, 24)
    parts = (days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")
    first = next(at for at, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def clock(seconds: float) -> str:
    """Return a local time, with the date if it is not today."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def deadline(seconds: float) -> str:
    """Return a future local time with its zone, and with the date if it is not today."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M %Z" if moment.date() == today else "%Y-%m-%d %H:%M %Z")


def soon(seconds: float) -> str:
    """Return a future local time, with the date if it is more than a day away."""
    if 0 <= seconds - time.time() < 86_400:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%H:%M}"
    return clock(seconds)


def at_most(amount: str, unsure: bool) -> str:
    """Return an amount, as an upper bound if it is not known exactly: at most $0.54/h."""
    return f"at most {amount}" if unsure else amount


def plural(count: int, thing: str) -> str:
    """Return a count with its noun: 1 file, 2 files."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
