"""Local days: times and costs by the calendar of this computer."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

from infra.ec2.machines.lease import hours_on, spent_usd
from infra.model import Cluster

LONGEST_DAY_S = 27 * 3600
Days = dict[str, tuple[float, float]]
"""Hours and USD by local day."""


def split(start: float, end: float) -> Iterator[tuple[str, float, float]]:
    """Yield the days between two times, each with the time at which it begins and ends, or they do."""
    moment = start
    while True:
        until = min(find_midnight(moment), end)
        yield day_of(moment).isoformat(), moment, max(until, moment)
        if until >= end:
            return
        moment = until


def day_of(moment: float) -> date:
    """Return the local date of a time."""
    return datetime.fromtimestamp(moment, UTC).astimezone().date()


def find_midnight(moment: float) -> int:
    """Return when the local day of a time is over; where clocks change at midnight, there may be no 0:00."""
    before, after = int(moment), int(moment) + LONGEST_DAY_S
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if day_of(middle) > day_of(moment) else (middle, after)
    return after


def share_out(cluster: Cluster, end: float, earlier: Days) -> Days:
    """Return the hours and the cost of a cluster by day, until a time.

    What it cost before it was last stopped or started counts on the days recorded then, otherwise on the first day since.
    """
    begin = cluster.spent_at or cluster.launched_at
    before = known_before(cluster, earlier)
    days = dict(before)
    hours, usd = (sum(share[part] for share in before.values()) for part in (0, 1))
    for day, _, until in split(min(begin, end), end):
        gained = hours_on(cluster, until) - hours, spent_usd(cluster, until) - usd
        known = days.get(day, (0.0, 0.0))
        days[day] = known[0] + gained[0], known[1] + gained[1]
        hours, usd = hours + gained[0], usd + gained[1]
    return days


def known_before(cluster: Cluster, earlier: Days) -> Days:
    """Return the recorded days, unless they have more than the cluster itself; tags may have been edited."""
    usd, hours = (sum(share[part] for share in earlier.values()) for part in (1, 0))
    fits = usd <= cluster.spent_usd + 0.01 and hours <= cluster.ran_hours + 0.01
    return dict(earlier) if fits else {}
