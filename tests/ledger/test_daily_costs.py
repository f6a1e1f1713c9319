"""Costs by day: clusters that ended, that live, that ran over midnight, and the jobs on them."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from infra.ec2.account import Account
from infra.ledger import costs
from infra.model import Cluster, Gpu, Node

EVENING = datetime.fromisoformat("2026-11-24 22:00").timestamp()  # of this laptop's calendar, as the days are
HOUR_S = 3600
ACCOUNT = cast(Account, SimpleNamespace(cloud="aws", region="r"))


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that remembers nothing yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let it be this late."""
    return lambda now: monkeypatch.setattr(time, "time", lambda: now)


def cluster(instance_id: str = "i-1", launched_at: float = EVENING) -> Cluster:
    node = Node(instance_id, "running", "h", 22, "t", "z", price_usd=0.995)
    return Cluster("demo", "aws", "r", (node,), Gpu("T4"), 1.0, EVENING + 90 * HOUR_S, launched_at, "o")


def write_receipt(folder: Path, start: float, end: float, usd: float | None) -> None:
    folder.mkdir(parents=True)
    receipt = {"cluster": "demo", "cloud": "aws", "usd": usd, "job": {"started_at": start, "ended_at": end}}
    (folder / "receipt.json").write_text(json.dumps(receipt))


def test_a_cluster_that_runs_over_midnight_is_shared_out_between_the_days(laptop, at):
    at(EVENING + 6 * HOUR_S)
    rows = costs.add_up([cluster()], laptop / "runs")
    assert [(row.day, row.hours, row.usd) for row in rows] == [
        ("2026-11-25", pytest.approx(4), pytest.approx(4)),
        ("2026-11-24", pytest.approx(2), pytest.approx(2)),
    ]


def test_a_cluster_that_runs_for_days_has_every_one_of_them(laptop, at):
    at(EVENING + 50 * HOUR_S)
    rows = costs.add_up([cluster()], laptop / "runs")
    assert [(row.day[-2:], round(row.hours)) for row in rows] == [("26", 24), ("25", 24), ("24", 2)]


def test_what_a_cluster_cost_is_noted_as_it_ends_and_stays_so(laptop, at):
    at(EVENING + HOUR_S)
    costs.record_end(ACCOUNT, [cluster("i-1"), cluster("i-2", EVENING + HOUR_S / 2)])
    at(EVENING + 90 * HOUR_S)
    [row] = costs.add_up([], laptop / "runs")
    assert (row.day, row.cluster, row.cloud, row.missed) == ("2026-11-24", "demo", "aws", False)
    assert (row.hours, row.usd) == (pytest.approx(1.5), pytest.approx(1.5))


def test_a_cluster_that_was_missed_marks_its_day_alone(laptop, at):
    at(EVENING + HOUR_S)
    costs.record_missed(cluster("i-1"), None)
    costs.record_end(ACCOUNT, [replace(cluster("i-2"), name="other")])
    rows = costs.add_up([], laptop / "runs")
    assert {row.cluster: row.missed for row in rows} == {"demo": True, "other": False}
    assert [row.hours for row in rows] == [pytest.approx(1)] * 2, "until it was missed, since its lease goes on"


def test_jobs_of_a_day_add_up_and_those_without_a_price_or_an_end_do_not_count(laptop, at):
    at(EVENING + 90 * HOUR_S)
    runs = laptop / "runs"
    write_receipt(runs / "demo-1", EVENING, EVENING + 600, 0.25)
    write_receipt(runs / "demo-2", EVENING + 700, EVENING + 900, 0.5)
    write_receipt(runs / "demo-3", EVENING, EVENING + 600, None)
    write_receipt(runs / "demo-4", EVENING, 0, 7.0)
    write_receipt(runs / "demo-5", 0, EVENING, 7.0)
    (runs / "mine").mkdir()
    (runs / "mine" / "receipt.json").write_text("[1]")
    [row] = costs.add_up([], runs)
    assert (row.day, row.jobs_usd) == ("2026-11-24", pytest.approx(0.75))
    assert (row.hours, row.usd) == (0, 0)


def test_the_hours_of_a_restarted_cluster_are_those_for_which_it_ran(laptop, at):
    at(EVENING + HOUR_S)
    restarted = replace(cluster(), ran_hours=3.0, spent_usd=3.5)
    assert [(row.hours, round(row.usd, 2)) for row in costs.add_up([restarted], laptop / "runs")] == [(4.0, 4.5)]
    asleep = replace(restarted, nodes=(replace(restarted.node, state="stopped"),))
    assert [row.hours for row in costs.add_up([asleep], laptop / "runs")] == [3.0]


def test_the_records_of_the_latest_clusters_are_kept_and_take_a_bounded_space(laptop, monkeypatch):
    monkeypatch.setattr(costs, "MOST_BYTES", 5_000)
    for number in range(100):
        costs.record_end(ACCOUNT, [cluster(f"i-{number:03}")])
    found = sorted(path.name for path in costs.note_file(cluster()).parent.iterdir())
    assert 10 < len(found) < 50
    assert found[-1] == costs.note_file(cluster("i-099")).name
