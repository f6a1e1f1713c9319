"""Capacity that was reserved or bought in advance: what `up` launches into it, and what it says where that cannot be."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.cloud.server import control
from tests.cloudwatch import Watch, lasting_cloud, watch
from tests.conftest import Laptop

pytestmark = pytest.mark.timeout(400)
P5, T4 = "p5.48xlarge", "g4dn.xlarge"
UP = ("up", "booked", "--dry-run")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with lasting_cloud(tmp_path_factory.mktemp("reservations")) as made:
        yield made


def buy_block(seen: Watch, starts_in_s: float = 0, hours: int = 24) -> dict[str, Any]:
    """Buy a Capacity Block of two machines."""
    begins = datetime.fromtimestamp(time.time() + starts_in_s, UTC)
    offered = seen.ec2.describe_capacity_block_offerings(
        InstanceType=P5, InstanceCount=2, CapacityDurationHours=hours, StartDateRange=begins
    )["CapacityBlockOfferings"][0]
    bought = seen.ec2.purchase_capacity_block(
        CapacityBlockOfferingId=offered["CapacityBlockOfferingId"], InstancePlatform="Linux/UNIX"
    )
    return dict(bought["CapacityReservation"])


def reserve(seen: Watch, **changes: Any) -> str:
    """Reserve machines on demand; return the reservation's id."""
    asked = {"InstanceType": T4, "InstancePlatform": "Linux/UNIX", "AvailabilityZone": "us-east-1b", "InstanceCount": 1}
    made = seen.ec2.create_capacity_reservation(**asked, InstanceMatchCriteria="targeted", **changes)
    return str(made["CapacityReservation"]["CapacityReservationId"])


def test_a_capacity_block_is_waited_for_and_bounds_the_lease_and_is_not_paid_twice(laptop):
    seen = watch(laptop)
    block = buy_block(seen, starts_in_s=4)
    key, latest = block["CapacityReservationId"], block["EndDate"].timestamp() - 1800
    early = laptop.type(*UP, "--reservation", key)
    assert early.code == 1
    assert f"Capacity Block {key} is scheduled; it begins at" in early.err
    assert "--wait" in early.err.splitlines()[-1]

    up = laptop.type(*UP, "--reservation", key, "--max-hours", "30", "--wait", "2m")
    assert up.code == 0, up.said
    said = " ".join(up.err.split())
    assert "paid in advance with the Capacity Block" in said
    assert "when AWS begins to end the block's machines" in said
    [machine] = seen.living()
    assert (machine["InstanceType"], machine["Placement"]["AvailabilityZone"]) == (P5, block["AvailabilityZone"])
    assert (machine["CapacityReservationId"], machine["InstanceLifecycle"]) == (key, "capacity-block")
    [listed] = json.loads(laptop.type("ls", "--dry-run", "--json").out)
    assert abs(datetime.fromisoformat(listed["lease_until"]).timestamp() - latest) < 2
    assert listed["usd_per_hour"] < 0.05, "only disk and address"

    longer = laptop.type("extend", "booked", "3h", "--yes")
    assert longer.code == 2
    assert f"AWS ends the machines of Capacity Block {key} from" in longer.err
    assert "nothing left that bills" in laptop.type("down", "booked", "--dry-run").err


def test_a_capacity_reservation_is_used_by_name_and_bills_after_the_machine_too(laptop):
    seen = watch(laptop)
    key = reserve(seen)
    control.add_faults(seen.cloud, "quota=0", f"no-capacity={T4}")  # neither counts for what is reserved
    try:
        up = laptop.type(*UP, "--reservation", key)
    finally:
        control.clear_faults(seen.cloud)
    assert up.code == 0, up.said
    assert "the reservation bills this with or without a machine" in " ".join(up.err.split())
    [machine] = seen.living()
    assert machine["CapacityReservationId"] == key
    full = laptop.type("up", "second", "--dry-run", "--reservation", key)
    assert f"capacity reservation {key} has 0 of 1 free" in full.err
    assert "wait for one: --wait 6h" in full.err
    assert f"its capacity reservation {key} would go on billing" in laptop.type("down", "booked", "--dry-run").err


def test_a_reservation_that_cannot_be_used_is_refused_in_one_line_with_the_next_step(laptop):
    seen = watch(laptop)
    key = reserve(seen)
    windows = seen.ec2.create_capacity_reservation(
        InstanceType=T4, InstancePlatform="Windows", AvailabilityZone="us-east-1b", InstanceCount=1
    )["CapacityReservation"]["CapacityReservationId"]
    gone = reserve(seen)
    seen.ec2.cancel_capacity_reservation(CapacityReservationId=gone)
    used = f"capacity reservation {key}"
    listing = "aws ec2 describe-capacity-reservations --region us-east-1"
    typed = f"gpujob up booked --dry-run --reservation {key} --plan"
    cases = [
        (("cr-0123456789abcdef0",), "no capacity reservation cr-0123456789abcdef0 in us-east-1", listing),
        ((gone,), f"capacity reservation {gone} is cancelled", listing),
        ((windows,), f"{windows} is for Windows with default tenancy", listing),
        ((key, "--instance-type", "g5.xlarge"), f"{used} is for {T4}, but --instance-type is g5.xlarge", f"--instance-type {T4}"),
        ((key, "--gpu", "A10G"), f"{T4} has 1 x T4, but --gpu is A10G", "omit --gpu or --reservation"),
        ((key, "--zone", "us-east-1a"), f"{used} is in us-east-1b, but --zone is us-east-1a", "--zone us-east-1b"),
        ((key, "--nodes", "2"), f"{used} is for 1 machine, but --nodes is 2", f"{typed} --nodes 1"),
        ((key, "--spot"), "a capacity reservation is not for spot machines", f"{typed} --on-demand"),
        (("cr-1",), "'cr-1' is not the ID of a capacity reservation", ""),
    ]  # fmt: skip
    for (name, *words), what, step in cases:
        done = laptop.type(*UP, "--reservation", name, "--plan", *words)
        assert done.code != 0, done.said
        assert what in " ".join(done.err.split()), done.err
        assert step in done.err, done.err
        assert len(done.err.splitlines()) <= 4, done.err
    control.add_faults(seen.cloud, "reserved=payment-failed")
    try:
        failed = laptop.type(*UP, "--reservation", key)
    finally:
        control.clear_faults(seen.cloud)
    assert f"{used} is payment-failed" in failed.err
    assert seen.living() == []


def test_a_reservation_in_the_settings_gives_way_to_what_is_typed(laptop):
    key = reserve(watch(laptop))
    settings = laptop.project / "gpujob.toml"
    settings.write_text(f'[up]\nreservation = "{key}"\n')
    try:
        plan = json.loads(laptop.type(*UP, "--plan", "--json").out)
        [choice] = plan["choices"]
        assert choice["reservation"]["reservation_id"] == key
        assert [offer["instance_type"] for offer in choice["offers"]] == [T4]
        [other] = json.loads(laptop.type(*UP, "--plan", "--json", "--gpu", "A10G").out)["choices"]
        assert other["reservation"] is None
    finally:
        settings.unlink()
