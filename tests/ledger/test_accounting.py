"""Random histories of clusters: what `ls`, `top`, `cost`, receipts and plans say, beside EC2's bill worked out a second way."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra import state
from infra.cluster import clusters
from infra.ec2.account import Account, Identity
from infra.ec2.machines import fleet, instances
from infra.ec2.machines.lease import hourly_usd, make_lease, spent_usd
from infra.ec2.market.history import add_spot_prices
from infra.ec2.tags import DISK_PRICE_TAG, LEASE_TAG, format_time
from infra.launch import power
from infra.launch.type_change import TypeChange, apply_change, change_type
from infra.ledger import costs, known_clusters
from infra.model import Cluster, Gpu, LaunchRequest, Offer
from infra.results.receipts import format_receipt, make_receipt
from tests.history.past import JOB
from tests.ledger.billing import ADDRESS_USD, Machine, Market, by_day, total

CENT = 0.01
MINUTE_S, HOUR_S = 60, 3600
SHUTDOWN_S = 90
ON_DEMAND_USD = 3.0
TYPES_USD = {"g5.xlarge": ON_DEMAND_USD, "g4dn.xlarge": 1.0}
OFFER = Offer("g5.xlarge", "us-east-1", "on-demand", {"us-east-1a": ON_DEMAND_USD}, Gpu("A10G"), 24, 4, 16, 0, "", 3.0)
# Evenings before a midnight that does not exist, comes twice, or follows a day that never was; and one like any other.
EVENINGS = [
    ("Europe/Berlin", "2026-03-28 21:00"),
    ("Europe/Berlin", "2026-10-24 21:00"),
    ("America/Sao_Paulo", "2018-11-03 20:30"),
    ("America/Sao_Paulo", "2018-02-17 20:30"),
    ("America/Havana", "2026-10-31 22:00"),
    ("Pacific/Apia", "2011-12-29 20:00"),
    ("Australia/Lord_Howe", "2026-04-04 22:00"),
    ("Asia/Kathmandu", "2026-11-24 22:00"),
]


@dataclass
class Ec2:
    """As much of EC2 as accounting asks, and the bill that it writes."""

    now: int
    market: Market
    spot: bool
    tells: bool
    """Whether the caller may read the history of spot prices."""
    machines: dict[str, Machine] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: int = 0

    def launch(self, count: int, tags: dict[str, str]) -> None:
        """Launch machines."""
        for number in range(count):
            machine = Machine(f"i-{number}", self.market, float(tags[DISK_PRICE_TAG]), self.now)
            machine.start(self.now)
            self.machines[machine.id], self.tags[machine.id] = machine, dict(tags) | {"gpujob:rank": str(number)}

    def living(self) -> list[Machine]:
        """List what is not terminated."""
        return [one for one in self.machines.values() if one.gone_at is None]

    def create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> None:  # noqa: N803
        """Tag machines."""
        for name in Resources:
            self.tags[name] |= {tag["Key"]: tag["Value"] for tag in Tags}

    def modify_instance_attribute(self, InstanceId: str, InstanceType: dict[str, str]) -> None:  # noqa: N803
        """Change a stopped machine's type; it costs what that costs from its next start on."""
        machine = self.machines[InstanceId]
        assert not machine.runs_now
        machine.type = InstanceType["Value"]
        machine.market = Market(TYPES_USD[machine.type])

    def stop_instances(self, InstanceIds: list[str]) -> None:  # noqa: N803
        """Stop machines."""
        for name in InstanceIds:
            self.machines[name].stop(self.now)

    def get_paginator(self, call: str) -> Any:
        """Return what answers with one page, once it is read."""
        return SimpleNamespace(paginate=lambda **words: (getattr(self, call)(**words) for _ in range(1)))

    def describe_instances(self, **_: Any) -> dict[str, Any]:
        """Describe what is not terminated; what is, EC2 forgets within the hour."""
        return {"Reservations": [{"Instances": [self.describe(one) for one in self.living()]}]}

    def describe(self, machine: Machine) -> dict[str, Any]:
        """Describe a machine."""
        started, stopped = machine.runs[-1]
        assert started is not None
        moment = (
            "" if stopped is None else f"User initiated ({datetime.fromtimestamp(stopped, UTC):%Y-%m-%d %H:%M:%S} GMT)"
        )
        return {
            "InstanceId": machine.id,
            "InstanceType": machine.type,
            "KeyName": "gpujob-c",
            "State": {"Name": "running" if stopped is None else "stopped"},
            "StateTransitionReason": moment,
            "LaunchTime": datetime.fromtimestamp(started, UTC),
            "Placement": {"AvailabilityZone": "us-east-1a"},
            "Tags": [{"Key": name, "Value": value} for name, value in self.tags[machine.id].items()],
            **({"InstanceLifecycle": "spot"} if self.spot else {}),
        }

    def describe_spot_price_history(self, StartTime: datetime, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Answer with the changes since a time, latest first, and the last one before."""
        self.asked += 1
        if not self.tells:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "DescribeSpotPriceHistory")
        since = max(StartTime.timestamp(), self.now - 90 * 86_400)
        past = [change for change in self.market.changes if change[0] <= self.now]
        before = [change for change in past if change[0] <= since]
        rows = [
            {"InstanceType": "g5.xlarge", "AvailabilityZone": "us-east-1a", "SpotPrice": str(price)}
            | {"Timestamp": datetime.fromtimestamp(at, UTC)}
            for at, price in (*before[-1:], *past[len(before) :])
        ]
        return {"SpotPriceHistory": rows[::-1]}


@dataclass
class Story:
    """One cluster's life, as told by the commands that a person types."""

    ec2: Ec2
    account: Account
    runs: Path
    lease_until: int
    promised_usd: float
    nodes: int
    shutdown_s: int
    promise_holds: bool = True
    """Until it is stopped: then its disk is billed for as long as the person likes."""
    guesses: bool = False
    """Whether a machine was lost while it was stopped by somebody else: then it is counted too long."""
    ended: str = ""
    jobs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether it has all its machines; what is promised later does not cover those that it has lost."""
        return len(self.ec2.living()) == self.nodes

    def find(self) -> Cluster:
        """Find it as `ls` does."""
        [found] = clusters.find_priced(self.account)
        return found

    def wait(self, seconds: int) -> None:
        """Let time pass; a machine whose lease ends meanwhile powers itself off."""
        until = self.ec2.now + seconds
        running = [one for one in self.ec2.living() if one.runs_now]
        if running and self.lease_until <= until:
            for machine in running:
                machine.end(self.lease_until + self.shutdown_s)
            self.ec2.now = max(until, self.lease_until + self.shutdown_s)
            if not self.ec2.living():
                self.ended = "itself"
        self.ec2.now = max(until, self.ec2.now)

    def step(self, what: str, seconds: int) -> None:
        """Do one thing, if it can be done now."""
        self.wait(seconds)
        if self.ended:
            return
        running = all(one.runs_now for one in self.ec2.living())
        if what == "stop" and running and not self.ec2.spot:
            power.stop(self.account, self.find(), lambda _: None)
            self.promise_holds = False
        if what == "stop elsewhere" and running and not self.ec2.spot:
            self.ec2.stop_instances([one.id for one in self.ec2.living()])
            self.promise_holds = False
        if what == "change the type" and not running:
            self.change_type(seconds + HOUR_S)
        if what == "start" and not running:
            self.start(seconds + HOUR_S)
        if what == "extend" and running:
            self.lease_until += seconds + HOUR_S
            self.promised_usd = power.most_usd(self.find(), self.lease_until)
            self.promise_holds = self.promise_holds and self.is_whole
            self.tag({LEASE_TAG: format_time(self.lease_until)})
        if what == "lose a node" and len(self.ec2.living()) > 1:
            # This computer thinks that the machine ran until it was missed.
            self.guesses = self.guesses or not running
            self.ec2.living()[0].end(self.ec2.now)
        if what == "job" and running:
            self.run_job(seconds + MINUTE_S)

    def start(self, seconds: int) -> None:
        """Start it again as `start` does."""
        cluster = self.find()
        self.lease_until, self.promise_holds = self.ec2.now + seconds, self.is_whole
        self.promised_usd = power.most_usd(cluster, self.lease_until)
        self.tag({**power.spent_tags(cluster, self.ec2.now), LEASE_TAG: format_time(self.lease_until)})
        for machine in self.ec2.living():
            machine.start(self.ec2.now)
        costs.record_days(cluster, self.ec2.now)
        known_clusters.remember(self.find())

    def change_type(self, seconds: int) -> None:
        """Change its type as `start` does, and promise what a start with this lease would cost."""
        cluster = self.find()
        [name] = TYPES_USD.keys() - {cluster.node.instance_type}
        offer = replace(OFFER, instance_type=name, prices={"us-east-1a": TYPES_USD[name]})
        changed = TypeChange(cluster, change_type(cluster, offer, self.ec2.now), offer, None)
        apply_change(self.account, changed)
        most_usd = power.most_usd(changed.after, self.ec2.now + seconds)
        assert most_usd == pytest.approx(power.most_usd(self.find(), self.ec2.now + seconds), abs=1e-5)

    def tag(self, tags: dict[str, str]) -> None:
        """Tag its machines."""
        instances.tag(self.account, [one.id for one in self.ec2.living()], tags)

    def run_job(self, seconds: int) -> None:
        """Run a job to its end, unless the lease ends first, and write its receipt."""
        cluster, started = self.find(), self.ec2.now
        self.wait(seconds)
        if self.ended:
            return
        end = self.ec2.now
        priced = add_spot_prices(self.account, [cluster], fresh_s=0)[0]
        number = len(self.jobs) + 1
        job = replace(
            JOB, number=number, nodes=len(cluster.nodes), started_at=started, ended_at=end, seconds=end - started
        )
        (self.runs / f"c-{number}").mkdir(parents=True)
        receipt = make_receipt(priced, job, ())
        (self.runs / f"c-{number}/receipt.json").write_bytes(format_receipt(receipt))
        self.jobs.append((started, end))
        market = self.ec2.living()[0].market
        times = sorted({started, end, *(at for at, _ in market.changes if started < at < end)})
        usd = len(cluster.nodes) * sum((b - a) / HOUR_S * market.price(a) for a, b in pairwise(times))
        assert receipt.at_most == (self.ec2.spot and not self.ec2.tells)
        assert receipt.usd is not None
        assert receipt.usd >= usd - 1e-6
        assert receipt.at_most or receipt.usd == pytest.approx(usd, abs=1e-6)


def check(story: Story) -> None:
    """Compare what the commands say with the bill."""
    ec2 = story.ec2
    bill = total(list(ec2.machines.values()), ec2.now)
    unsure = ec2.spot and not ec2.tells
    found = clusters.find_priced(story.account)
    clusters.record_lost(story.account, found)
    if story.ended == "itself":
        known = known_clusters.recall("c")
        assert known
        costs.record_missed(replace(known, lease_until=story.lease_until), story.account)
    rows = costs.add_up(found, story.runs)
    # What ended itself is counted until its lease's end; how long its system took to go down, nobody saw.
    slack = len(ec2.machines) * SHUTDOWN_S / HOUR_S * (ON_DEMAND_USD + ADDRESS_USD + 1)
    least = bill - (slack if story.ended == "itself" else CENT / 10)
    counted = sum(row.usd for row in rows)
    assert counted >= least
    assert unsure or story.guesses or counted <= bill + CENT / 10
    if story.promise_holds:
        assert bill <= story.promised_usd + CENT / 10, "at most"
        assert counted <= story.promised_usd + CENT / 10
    days = by_day(list(ec2.machines.values()), ec2.now, os.environ["TZ"])
    minute = len(ec2.machines) * (ON_DEMAND_USD + 1) * MINUTE_S / HOUR_S
    if not unsure and "lost" not in story.ended and story.nodes == 1:
        known_days = {row.day: row.usd for row in rows}
        for day in {*days, *known_days}:
            assert known_days.get(day, 0) == pytest.approx(days.get(day, 0), abs=slack + minute), day
    for cluster in found:
        lost = sum(one.gone_at is not None for one in ec2.machines.values())
        assert cluster.is_at_most == unsure
        if not lost:
            assert spent_usd(cluster, ec2.now) == pytest.approx(counted, abs=1e-6), "ls and cost"
            recorded = add_spot_prices(story.account, [cast(Cluster, known_clusters.recall("c"))])[0]
            if recorded.node.state == cluster.node.state:
                assert spent_usd(recorded, ec2.now) == pytest.approx(counted, abs=1e-6), "top and cost"
        rate = sum(one.market.price(ec2.now) + ADDRESS_USD for one in ec2.living() if one.runs_now) + cluster.disk_usd
        assert hourly_usd(cluster) >= rate - 1e-5
        assert unsure or hourly_usd(cluster) == pytest.approx(rate, abs=1e-5)


WHAT = ["look", "look", "stop", "stop elsewhere", "start", "start", "change the type", "extend", "lose a node", "job"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.one_of(st.integers(0, 120), st.integers(0, 3 * 86_400)),
    ),
    max_size=8,
)
SHARES = st.lists(st.tuples(st.integers(1, 40 * HOUR_S), st.floats(0.01, 1)), min_size=1, max_size=30)


@dataclass(frozen=True)
class Beginning:
    """How a story begins."""

    zone: str
    at: int
    spot: bool
    tells: bool
    shares: list[tuple[int, float]]
    nodes: int
    hours: float
    max_usd: float | None
    shutdown_s: int


@st.composite
def beginnings(draw: st.DrawFn) -> Beginning:
    """How a story may begin."""
    zone, evening = draw(st.sampled_from(EVENINGS))
    at = int(datetime.fromisoformat(evening).replace(tzinfo=ZoneInfo(zone)).timestamp()) + draw(st.integers(0, 7200))
    spot = draw(st.booleans())
    return Beginning(
        zone, at, spot, draw(st.booleans()) or not spot, draw(SHARES), draw(st.integers(1, 2)),
        draw(st.sampled_from([0.1, 3, 30, 300])), draw(st.one_of(st.none(), st.floats(1, 50))),
        draw(st.integers(0, SHUTDOWN_S)),
    )  # fmt: skip


def make_market(beginning: Beginning) -> Market:
    """Return the market, whose price last changed some time before the launch."""
    if not beginning.spot:
        return Market(ON_DEMAND_USD)
    at, changes = beginning.at - 5 * HOUR_S, []
    for gap, share in beginning.shares:
        changes.append((at, round(share * ON_DEMAND_USD, 4)))
        at += gap
    return Market(ON_DEMAND_USD, tuple(changes))


@contextmanager
def laptop(ec2: Ec2, zone: str) -> Iterator[Path]:
    """Put a computer that remembers nothing into a time zone, with EC2's clock."""
    before = os.environ.get("TZ")
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"XDG_STATE_HOME": folder, "TZ": zone}):
        time.tzset()
        try:
            with patch("time.time", lambda: float(ec2.now)):
                yield Path(folder)
        finally:
            os.environ["TZ"] = before or ""
            if before is None:
                del os.environ["TZ"]
            time.tzset()


def begin(beginning: Beginning, ec2: Ec2, folder: Path) -> Story:
    """Launch as `up` does."""
    market: Any = "spot" if beginning.spot else "on-demand"
    offer = replace(OFFER, market=market, prices={"us-east-1a": ec2.market.price(ec2.now)})
    request = LaunchRequest(nodes=beginning.nodes, max_hours=beginning.hours, max_cost_usd=beginning.max_usd)
    lease = make_lease([offer], request, 0.08, ec2.now)
    owner = Identity("123456789012", "arn:aws:iam::123456789012:user/u", "AIDA")
    ec2.launch(beginning.nodes, fleet.make_tags("c", [offer], request, lease, 0.08, owner))
    account = cast(Account, SimpleNamespace(cloud="aws", region="us-east-1", identity=owner, ec2=ec2, is_local=False))
    account.__dict__["in_region"] = lambda _: account
    story = Story(
        ec2, account, folder / "runs", int(lease.until), lease.most_usd, beginning.nodes, beginning.shutdown_s
    )
    known_clusters.remember(story.find())
    return story


LAUNCHED = Beginning("Asia/Kathmandu", 1_795_500_000, False, True, [(HOUR_S, 1.0)], 2, 30, None, 0)
ELSEWHERE = [("stop elsewhere", 2 * HOUR_S), ("change the type", 600), ("start", 600), ("look", HOUR_S)]


@settings(max_examples=60)
@given(beginnings(), STEPS)
@example(LAUNCHED, ELSEWHERE)
def test_what_the_commands_say_of_costs_is_what_ec2_bills_and_never_above_what_was_promised(beginning, steps):
    ec2 = Ec2(beginning.at, make_market(beginning), beginning.spot, beginning.tells)
    with laptop(ec2, beginning.zone) as folder:
        story = begin(beginning, ec2, folder)
        check(story)
        for what, seconds in steps:
            story.step(what, seconds)
            check(story)
        if not story.ended:
            costs.record_end(story.account, instances.find_clusters(story.account))
            for machine in ec2.living():
                machine.end(ec2.now)
            story.ended = "by down"
            check(story)
        assert ec2.asked <= 3 * len(steps) + 4 or not ec2.tells, "what is denied is asked again"
        assert state.state_folder().is_relative_to(folder)
