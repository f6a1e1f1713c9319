"""Requests for CreateFleet, and which pools each asks for."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from infra.ec2.capacity.reservations import BLOCK
from infra.ec2.network.subnets import Subnet
from infra.ec2.tags import LAUNCH_TAG, tag_specification
from infra.model import Offer

OVERRIDES = 300  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html


class Pool(NamedTuple):
    """An instance type in a subnet, and so in one zone."""

    instance_type: str
    subnet: str


def find_pools(offers: Sequence[Offer], subnets: Sequence[Subnet]) -> list[Pool]:
    """Return the pools of these offers, cheapest first."""
    pairs = [
        (offer.prices[subnet.zone], offer.instance_type, subnet.subnet_id)
        for offer in offers
        for subnet in subnets
        if subnet.zone in offer.prices
    ]
    return [Pool(kind, subnet) for _, kind, subnet in sorted(pairs)]


def make_request(template: str, market: str, nodes: int, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return a CreateFleet request for a market or `capacity-block`, without pools and client token.

    A Capacity Block has one type in one zone, and takes no options: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-launch-instances-capacity-blocks-walkthrough.html
    Several nodes are launched all of one type in one zone, or not at all. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instant-fleet.html
    """
    together = (
        {"SingleInstanceType": True, "SingleAvailabilityZone": True, "MinTargetCapacity": nodes} if nodes > 1 else {}
    )
    options: dict[str, Any] = (
        {
            "SpotOptions": {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": "terminate",
                **together,
            }
        }
        if market == "spot"
        else {}
        if market == BLOCK
        else {"OnDemandOptions": {"AllocationStrategy": "lowest-price", **together}}
    )
    return {
        "Type": "instant",
        "TagSpecifications": [tag_specification("fleet", tags)],
        "TargetCapacitySpecification": {"TotalTargetCapacity": nodes, "DefaultTargetCapacityType": market},
        "LaunchTemplateConfigs": [
            {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"}, "Overrides": []}
        ],
        **options,
    }


def ask_for(request: Mapping[str, Any], pools: Iterable[Pool]) -> dict[str, Any]:
    """Return the request for these pools, with a client token of its own.

    EC2 repeats its first answer to a known token, even if that had no machine:
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    [config] = request["LaunchTemplateConfigs"]
    overrides = [{"InstanceType": pool.instance_type, "SubnetId": pool.subnet} for pool in pools]
    return {
        **request,
        "ClientToken": f"{token_of(request)}-{uuid.uuid4().hex[:12]}",
        "LaunchTemplateConfigs": [{**config, "Overrides": overrides}],
    }


def token_of(request: Mapping[str, Any]) -> str:
    """Return the token of the launch that a request belongs to."""
    [specification] = request["TagSpecifications"]
    return next(str(tag["Value"]) for tag in specification["Tags"] if tag["Key"] == LAUNCH_TAG)


def nodes_of(request: Mapping[str, Any]) -> int:
    """Return the number of nodes that a request asks for."""
    return int(request["TargetCapacitySpecification"]["TotalTargetCapacity"])


def refused_pools(entry: Mapping[str, Any], asked: Collection[Pool]) -> list[Pool]:
    """Return the pools that an error in a fleet's answer is about."""
    said = entry.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
    kind, subnet = said.get("InstanceType"), said.get("SubnetId")
    return [one for one in asked if kind in (None, one.instance_type) and subnet in (None, one.subnet)]
