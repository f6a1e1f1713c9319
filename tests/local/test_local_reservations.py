"""Capacity reservations and Capacity Blocks on the local cloud, as EC2 answers about them."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import local_cloud_fixtures as fixtures
from tests.local_cloud_fixtures import World, eventually

shared = fixtures.shared
P5 = "p5.48xlarge"


def buy_block(world: World, starts_at: float, hours: int = 1) -> str:
    [offered] = world.ec2.describe_capacity_block_offerings(
        InstanceType=P5, CapacityDurationHours=hours, StartDateRange=datetime.fromtimestamp(starts_at, UTC)
    )["CapacityBlockOfferings"]
    bought = world.ec2.purchase_capacity_block(
        CapacityBlockOfferingId=offered["CapacityBlockOfferingId"], InstancePlatform="Linux/UNIX"
    )
    return str(bought["CapacityReservation"]["CapacityReservationId"])


def launch(world: World, key: str, instance_type: str = P5, **words: Any) -> str:
    target = {"CapacityReservationTarget": {"CapacityReservationId": key}} if key else {}
    launched = world.ec2.run_instances(
        ImageId=world.image(), InstanceType=instance_type, MinCount=1, MaxCount=1,
        **({"CapacityReservationSpecification": target} if target else {}), **words,
    )  # fmt: skip
    return str(launched["Instances"][0]["InstanceId"])


def refusal(world: World, key: str, **words: Any) -> str:
    with pytest.raises(ClientError) as refused:
        launch(world, key, **words)
    return str(refused.value.response["Error"]["Code"])


def describe(world: World, instance: str) -> dict[str, Any]:
    [entry] = world.ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return dict(entry["Instances"][0])


BLOCK = {"InstanceMarketOptions": {"MarketType": "capacity-block"}}


def test_a_block_takes_only_its_own_machines_in_its_own_market_once_it_has_begun(shared):
    key, later = buy_block(shared, time.time() - 60), buy_block(shared, time.time() + 3600)
    assert refusal(shared, key) == "InvalidParameterValue"
    assert refusal(shared, key, instance_type="g4dn.xlarge", **BLOCK) == "ReservationCapacityExceeded"
    assert refusal(shared, later, **BLOCK) == "InsufficientInstanceCapacity"
    assert refusal(shared, "cr-0123456789abcdef0", **BLOCK) == "InvalidCapacityReservationId.NotFound"
    machine = launch(shared, key, **BLOCK)
    assert refusal(shared, key, **BLOCK) == "ReservationCapacityExceeded"
    shared.ec2.terminate_instances(InstanceIds=[machine])
    with pytest.raises(ClientError, match="can't be cancelled"):
        shared.ec2.cancel_capacity_reservation(CapacityReservationId=key)


def test_a_block_ends_its_machines_half_an_hour_before_its_own_end(shared):
    machine = launch(shared, buy_block(shared, time.time() - 1800 + 2), **BLOCK)
    assert describe(shared, machine)["State"]["Name"] in ("pending", "running")
    assert eventually(lambda: describe(shared, machine)["State"]["Name"] == "terminated")


def test_an_open_reservation_takes_a_matching_machine_that_does_not_name_it(shared):
    made = shared.ec2.create_capacity_reservation(
        InstanceType="g5.2xlarge", InstancePlatform="Linux/UNIX", AvailabilityZone="us-east-1a", InstanceCount=1
    )["CapacityReservation"]
    place = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    first, second = (launch(shared, "", instance_type="g5.2xlarge", **place) for _ in range(2))
    assert describe(shared, first)["CapacityReservationId"] == made["CapacityReservationId"]
    assert "CapacityReservationId" not in describe(shared, second)
    shared.ec2.terminate_instances(InstanceIds=[first, second])
    shared.ec2.cancel_capacity_reservation(CapacityReservationId=made["CapacityReservationId"])
