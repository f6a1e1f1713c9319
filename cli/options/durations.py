"""Parse durations and times; units are required, since 30 could mean seconds or minutes."""

import re
from dataclasses import dataclass
from datetime import datetime, time

import click

UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12}")
DURATION = re.compile("".join(rf"(?:({NUMBER.pattern}){unit})?" for unit in UNITS_S))
MOST_S = 365 * 86400
LEAST_LEASE_S, MOST_LEASE_S = 1, 30 * 86400
NEVER = ("never", "off")


def parse_duration(value: str) -> float:
    """Return the seconds in a duration such as 90s, 30m, 1h30m or 2d."""
    text = value.strip().lower()
    if NUMBER.fullmatch(text):
        raise click.BadParameter(f"{text} what? Try {text}m (minutes) or {text}s (seconds).")
    found = DURATION.fullmatch(text)
    if not text or not found:
        raise click.BadParameter(f"'{value}' is not a duration such as 90s, 30m, 1h30m or 2d.")
    seconds = sum(float(count or 0) * unit for count, unit in zip(found.groups(), UNITS_S.values(), strict=True))
    if not 0 < seconds <= MOST_S:
        raise click.BadParameter(f"'{value}' must be longer than 0s and at most 365d.")
    return seconds


def parse_idle_stop(value: str) -> float:
    """Return the seconds of a duration; 0 for never."""
    text = value.strip().lower()
    if text in NEVER:
        return 0.0
    if NUMBER.fullmatch(text) and not float(text):
        raise click.BadParameter(f"To turn off the idle stop, use {NEVER[0]}.")
    return parse_duration(text)


def parse_hours(value: str) -> float:
    """Return the hours in 6, 1.5, 12h, 90m or 2d; a bare number means hours."""
    text = value.strip().lower()
    hours = float(text) if NUMBER.fullmatch(text) else parse_duration(text) / 3600
    if not LEAST_LEASE_S <= hours * 3600 <= MOST_LEASE_S:
        raise click.BadParameter(f"'{value}' must be between 1 second and 720 hours (30 days).")
    return hours


@dataclass(frozen=True)
class Since:
    """Where to start in a log: at a byte offset, or this many seconds ago."""

    offset: int | None = None
    ago_s: float = 0


def parse_since(value: str) -> Since:
    """Parse 10m (ago), 14:05, 2026-11-24T14:05 or 4096b (a byte offset)."""
    if offset := re.fullmatch("([0-9]{1,15})b", value):
        return Since(offset=int(offset[1]))
    if NUMBER.fullmatch(value):
        raise click.BadParameter(
            f"{value} what? Try {value}m (minutes ago), {value}s (seconds ago) or {value}b (byte offset)."
        )
    now = datetime.now().astimezone()
    try:
        clock = time.fromisoformat(value)
        moment = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
        return Since(ago_s=(now - moment).total_seconds() % 86400)  # a time later than now means yesterday
    except ValueError:
        pass
    try:
        return Since(ago_s=max((now - datetime.fromisoformat(value).astimezone()).total_seconds(), 0))
    except (ValueError, OverflowError):
        pass
    try:
        return Since(ago_s=parse_duration(value))
    except click.BadParameter as error:
        what = "is not a time such as 10m (ago), 14:05, 2026-11-24T14:05 or 4096b (a byte offset)."
        raise click.BadParameter(f"'{value}' {what}") from error
