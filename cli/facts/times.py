"""Times as --json prints them."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def instant(seconds: Any) -> Any:
    """Return a time as ISO 8601 in UTC (2026-11-24T14:05:00.000Z); None for 0, others as they are."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return seconds
    if not seconds or not math.isfinite(seconds):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):  # from a file that is not ours
        return None


def with_instants(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return facts, those of these names as times."""
    return {name: instant(value) if name in names else value for name, value in facts.items()}
