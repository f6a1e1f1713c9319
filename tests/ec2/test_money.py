"""What is offered, taken, allowed and added up."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cluster.clusters import mark_missing
from infra.ec2.capacity.requests import ask_for, find_pools, make_request
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.ec2.market.offers import choose
from infra.ec2.market.quotas import Quota, family_of
from infra.ec2.network.subnets import Subnet
from infra.errors import NotFoundError, QuotaError
from infra.launch.plans import allowed
from infra.ledger import costs
from infra.ledger.days import split
from infra.model import Cluster, Gpu, LaunchRequest, Node, Offer


def offer(name: str, prices: dict[str, float], market="on-demand", gpu="T4", memory=16.0) -> Offer:
    return Offer(name, "us-east-1", market, prices, Gpu(gpu), memory, 4, 16, 0, "")


SMALL = offer("g4dn.xlarge", {"a": 0.5, "b": 0.5})
LARGER = offer("g4dn.2xlarge", {"a": 0.75})
HUGE = offer("g4dn.16xlarge", {"a": 4.3})
SPOT = offer("g4dn.xlarge", {"a": 0.2, "b": 0.1}, "spot")
ACCOUNT = SimpleNamespace(cloud="aws", region="r")
BIG = offer("g5.xlarge", {"b": 1.0}, gpu="A10G", memory=22888 / 1024)
ALL = [SPOT, SMALL, LARGER, BIG, HUGE]


def names(offers: list[Offer]) -> list[tuple[str, str]]:
    return [(one.instance_type, one.market) for one in offers]


def test_siblings_are_taken_as_long_as_they_are_no_surprise():
    assert names(choose(ALL, LaunchRequest(gpu=Gpu("t4")), "us-east-1")) == [
        ("g4dn.xlarge", "on-demand"),
        ("g4dn.2xlarge", "on-demand"),
    ]
    both = LaunchRequest(gpu=Gpu("T4"), markets=("spot", "on-demand"))
    assert names(choose(ALL, both, "us-east-1"))[0] == ("g4dn.xlarge", "spot")
    named = LaunchRequest(instance_types=("g4dn.16xlarge", "g4dn.xlarge"))
    assert ("g4dn.16xlarge", "on-demand") in names(choose([SMALL, HUGE], named, "us-east-1"))


def test_memory_and_zones_narrow_what_is_taken():
    assert names(choose(ALL, LaunchRequest(gpu_memory_gb=24), "us-east-1")) == [("g5.xlarge", "on-demand")]
    [narrowed] = choose(ALL, LaunchRequest(gpu=Gpu("T4"), zones=("b",)), "us-east-1")
    assert narrowed.prices == {"b": 0.5}
    with pytest.raises(NotFoundError, match="the largest has 24"):
        choose(ALL, LaunchRequest(gpu_memory_gb=99), "us-east-1")


def test_pools_come_cheapest_first_and_several_nodes_stay_together():
    pools = find_pools([SPOT, LARGER], [Subnet(f"subnet-{zone}", "", zone, "vpc", True) for zone in "ab"])
    assert pools == [("g4dn.xlarge", "subnet-b"), ("g4dn.xlarge", "subnet-a"), ("g4dn.2xlarge", "subnet-a")]
    request = make_request("lt-1", "spot", 2, {"gpujob:launch": "token"})
    [config] = ask_for(request, pools)["LaunchTemplateConfigs"]
    assert config["Overrides"][0] == {"InstanceType": "g4dn.xlarge", "SubnetId": "subnet-b"}
    assert request["SpotOptions"]["AllocationStrategy"] == "price-capacity-optimized"
    assert request["SpotOptions"]["MinTargetCapacity"] == 2
    assert make_request("lt-1", "on-demand", 1, {"gpujob:launch": "token"})["OnDemandOptions"] == {
        "AllocationStrategy": "lowest-price"
    }


@pytest.mark.parametrize(
    ("instance_type", "market", "family"),
    [
        ("g5.xlarge", "on-demand", "G and VT"),
        ("gr6.4xlarge", "spot", "G and VT"),
        ("p5.48xlarge", "on-demand", "P"),
        ("p5en.48xlarge", "spot", "P5"),
        ("p4d.24xlarge", "spot", "P4, P3 and P2"),
        ("p6-b200.48xlarge", "spot", ""),
        ("m5.large", "on-demand", "standard"),
        ("trn1.2xlarge", "on-demand", ""),
        ("inf2.xlarge", "on-demand", ""),
        ("mac2.metal", "on-demand", ""),
    ],
)
def test_the_quota_that_a_type_counts_against(instance_type, market, family):
    assert family_of(instance_type, market) == family


def test_what_the_quota_does_not_allow_is_left_out_and_asked_for():
    quota = Quota("on-demand", "G and VT", "L-DB2E81BA", 8, 4)
    assert allowed([SMALL], [quota], LaunchRequest(), "us-east-1") == (SMALL,)
    with pytest.raises(QuotaError, match=r"needs 8 vCPUs.* is 8, of which 4 are in use") as caught:
        allowed([SMALL], [quota], LaunchRequest(nodes=2), "us-east-1")
    assert caught.value.hint.endswith("--quota-code L-DB2E81BA --desired-value 12")


@given(st.floats(0, 4e9), st.floats(0, 40 * 86400))
def test_days_share_out_the_whole_of_a_time_and_nothing_else(start, lasted):
    shares = list(split(start, start + lasted))
    assert sum(until - begin for _, begin, until in shares) == pytest.approx(lasted, abs=1e-5)
    assert len({day for day, _, _ in shares}) == len(shares)


def test_what_runs_over_midnight_is_shared_between_both_days(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    midnight = datetime(2026, 11, 25).astimezone().timestamp()
    node = Node("i-1", "running", "h", 22, "t", "z", price_usd=1.0)
    cluster = Cluster("c", "aws", "r", (node,), Gpu("T4"), 1.0, 0, midnight - 3 * 3600, "o")
    monkeypatch.setattr(costs.time, "time", lambda: midnight + 3600)
    receipt = {
        "cluster": "c",
        "cloud": "aws",
        "usd": 2.0,
        "job": {"started_at": midnight - 1800, "ended_at": midnight + 1800},
    }
    (tmp_path / "c-1").mkdir()
    (tmp_path / "c-1/receipt.json").write_text(json.dumps(receipt))
    running = costs.add_up([cluster], tmp_path)
    costs.record_end(ACCOUNT, [cluster])
    for rows in (running, costs.add_up([], tmp_path)):
        assert [row.day for row in rows] == ["2026-11-25", "2026-11-24"]
        assert [row.hours for row in rows] == pytest.approx([1, 3])
        assert [row.usd for row in rows] == pytest.approx([1.005, 3 * 1.005])
        assert [row.jobs_usd for row in rows] == pytest.approx([1, 1])


def test_a_stopped_cluster_costs_its_disk_alone():
    node = Node("i-1", "running", "h", 22, "t", "z", price_usd=1.0)
    cluster = Cluster("c", "aws", "r", (node,), Gpu("T4"), 1.0, 0, 1000.0, "o", disk_usd=0.01, spent_usd=2.0)
    assert hourly_usd(cluster) == pytest.approx(1.015)
    assert spent_usd(cluster, 1000.0 + 3600) == pytest.approx(3.015)
    stopped = Cluster.from_dict(
        json.loads(json.dumps(cluster.to_dict() | {"nodes": [{**vars(node), "state": "stopped"}]}))
    )
    assert hourly_usd(stopped) == pytest.approx(0.01)


def test_a_machine_that_was_missed_is_counted_once_and_no_longer_than_its_lease(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    now = time.time()
    node = Node("i-1", "running", "h", 22, "t", "z", price_usd=1.0)
    cluster = Cluster("c", "aws", "r", (node,), Gpu("T4"), 1.0, now - 1800, now - 5400, "o", disk_usd=0.01)
    costs.record_missed(cluster, None)
    costs.record_missed(replace(cluster, lease_until=now + 9e4), None)  # later records know no better
    gone = replace(cluster, nodes=(replace(node, state="gone"),))
    rows = costs.add_up([gone], tmp_path)
    assert sum(row.usd for row in rows) == pytest.approx(1.015)
    assert all(row.missed for row in rows)
    alive = costs.add_up(
        [replace(cluster, lease_until=now + 3600)], tmp_path
    )  # it was only not to be seen for a moment
    assert sum(row.usd for row in alive) == pytest.approx(1.015 * 1.5, rel=1e-3)
    assert not any(row.missed for row in alive)


def test_what_lives_in_another_account_is_not_taken_for_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    node = Node("i-1", "running", "h", 22, "t", "z", price_usd=1.0)
    cluster = Cluster("c", "aws", "r", (node,), Gpu("T4"), 1.0, 0, 1000.0, "arn:aws:iam::1:user/u")
    others, own = (SimpleNamespace(identity=SimpleNamespace(account_id=one)) for one in "21")
    assert mark_missing(cluster, others).node.state == "unknown"
    assert not costs.note_file(cluster).exists()
    assert mark_missing(cluster, own).node.state == "gone"
    assert costs.note_file(cluster).exists()


def test_costs_come_from_notes_and_receipts_and_broken_files_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
    note = {"cluster": "demo", "cloud": "aws", "launched_at": noon, "ended_at": noon + 3600, "usd": 0.6}
    (tmp_path / "gpujob/costs").mkdir(parents=True)
    (tmp_path / "gpujob/costs/one.json").write_text(json.dumps(note))
    (tmp_path / "gpujob/costs/broken.json").write_text("{")
    (tmp_path / "gpujob/costs/other.json").write_text("[]")
    job = {"started_at": noon, "ended_at": noon + 1500}
    receipt = {"cluster": "demo", "cloud": "aws", "usd": 0.25, "job": job, "downloaded_bytes": 2_000_000_000}
    (tmp_path / "runs/demo-1").mkdir(parents=True)
    (tmp_path / "runs/demo-1/receipt.json").write_text(json.dumps(receipt))
    rows = costs.add_up([], tmp_path / "runs")
    assert sum(row.usd for row in rows) == pytest.approx(0.6)
    assert sum(row.jobs_usd for row in rows) == pytest.approx(0.25)
    assert sum(row.transfer_usd for row in rows) == pytest.approx(0.18)
    assert sum(row.transfer_usd for row in costs.add_up([], tmp_path / "runs", 0.02)) == pytest.approx(0.04)
    assert {(row.cluster, row.cloud) for row in rows} == {("demo", "aws")}
