"""EC2's bill, worked out a second way: what a made-up account has run, and what each day of it costs.

From AWS's pages, not from our code: machines and addresses to the second while they run, a minute at least for each start;
disks for as long as they exist. A spot machine costs the price in effect, never above the on-demand price.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

ADDRESS_USD = 0.005
SNAPSHOT_GIB_HOUR_USD = 0.05 / 730
MINUTE_S, QUARTER_S = 60, 900


@dataclass(frozen=True)
class Market:
    """What a machine costs an hour: on demand the same always, on the spot market what the times say."""

    on_demand_usd: float
    changes: tuple[tuple[int, float], ...] = ()

    def price(self, at: int) -> float:
        """Return the price in effect."""
        number = bisect_right(self.changes, (at, float("inf"))) - 1
        return self.changes[number][1] if self.changes else self.on_demand_usd


@dataclass
class Machine:
    """An instance, and everything that it was billed for."""

    id: str
    market: Market
    disk_usd: float
    launched_at: int
    runs: list[list[int | None]] = field(default_factory=list)
    gone_at: int | None = None
    type: str = "g5.xlarge"
    markets: list[Market] = field(default_factory=list)
    """That of each run: a stopped machine may become one of another type."""

    @property
    def runs_now(self) -> bool:
        """Whether it runs."""
        return bool(self.runs) and self.runs[-1][1] is None

    def start(self, at: int) -> None:
        """Start it."""
        self.runs.append([at, None])
        self.markets.append(self.market)

    def stop(self, at: int) -> None:
        """Stop it."""
        self.runs[-1][1] = at

    def end(self, at: int) -> None:
        """Terminate it."""
        if self.runs_now:
            self.stop(at)
        self.gone_at = at

    def charges(self, now: int, edges: "set[int] | None" = None) -> "dict[int, float]":
        """Return what is charged for, by the time from which it counts, up to the next such time; split at the edges too."""
        bill: dict[int, float] = defaultdict(float)
        for (started, stopped), market in zip(self.runs, self.markets, strict=True):
            assert started is not None
            changes = {at for at, _ in market.changes}
            for begin, end in pieces(
                started, now if stopped is None else min(stopped, now), changes | (edges or set())
            ):
                bill[begin] += (end - begin) / 3600 * (market.price(begin) + ADDRESS_USD)
        existed = now if self.gone_at is None else min(self.gone_at, now)
        for begin, end in pieces(self.launched_at, existed, edges or set()):
            bill[begin] += (end - begin) / 3600 * self.disk_usd
        return bill


@dataclass
class Snapshot:
    """What an image stores: the blocks that no earlier snapshot of the same disk has, from its creation to its removal.

    https://docs.aws.amazon.com/ebs/latest/userguide/how_snapshots_work.html
    """

    id: str
    volume_gib: int
    stored_gib: float
    """All blocks that were ever written, which EC2 reports once the snapshot is complete."""
    billed_gib: float
    """Those that are not in an earlier snapshot."""
    made_at: int
    complete: bool = False
    gone_at: int | None = None

    def usd(self, since: int, until: int) -> float:
        """Return what it costs between two times."""
        begin, end = max(since, self.made_at), until if self.gone_at is None else min(until, self.gone_at)
        return max(end - begin, 0) / 3600 * self.billed_gib * SNAPSHOT_GIB_HOUR_USD


def pieces(begin: int, end: int, edges: "set[int]") -> "Iterator[tuple[int, int]]":
    """Yield a time in pieces that end at these edges; it is a minute at least, unless it is nothing."""
    if end > begin:
        end = max(end, begin + MINUTE_S)
        times = sorted({begin, end, *(at for at in edges if begin < at < end)})
        yield from pairwise(times)


def total(machines: "list[Machine]", now: int) -> float:
    """Return the whole bill by a time."""
    return sum(sum(machine.charges(now).values()) for machine in machines)


def by_day(machines: "list[Machine]", now: int, zone: str) -> "dict[str, float]":
    """Return the bill by the days of a time zone."""
    days: dict[str, float] = defaultdict(float)
    edges = {at for at in range(min(one.launched_at for one in machines) // QUARTER_S * QUARTER_S, now, QUARTER_S)
             if day_of(at, zone) != day_of(at - QUARTER_S, zone)}  # fmt: skip
    for machine in machines:
        for at, usd in machine.charges(now, edges).items():
            days[day_of(at, zone)] += usd
    return days


@cache
def day_of(at: int, zone: str) -> str:
    """Return the date in a time zone; all are whole quarters of an hour apart from UTC."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone)).date().isoformat()
