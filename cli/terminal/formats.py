"""Money, sizes, times and counts as text."""

import time
from datetime import UTC, datetime


def usd(amount: float) -> str:
    """Return an amount of money: 1.50 USD."""
    return "less than 0.01 USD" if 0 < amount < 0.01 else f"{amount:.2f} USD"


def size(count: int) -> str:
    """Return a number of bytes: 1 byte, 1.5 kB, 2.0 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return plural(count, "byte") if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


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
    """Return a time in this computer's zone, with the date if it is not today."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def soon(seconds: float) -> str:
    """Return a future time in this computer's zone, with the date if it is more than a day away."""
    if 0 <= seconds - time.time() < 86_400:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%H:%M}"
    return clock(seconds)


def plural(count: int, thing: str) -> str:
    """Return a count with its noun: 1 file, 2 files."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
