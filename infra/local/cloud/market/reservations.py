"""Capacity reservations and Capacity Blocks: bought, described, and what they let in.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-reservation-overview.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html
"""

import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, Tree, ec2_answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.market import prices
from infra.local.cloud.request import Request

ACCOUNT = "123456789012"
LINUX = "Linux/UNIX"
EARLY_S = 1800
"""AWS begins to end the machines of a block this long before the block ends."""
OCCUPYING = ("pending", "running", "shutting-down", "stopping")
_INSTANCE = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")
WRONG_MARKET = (
    "InvalidParameterValue",
    "The market type (purchasing) option is not valid. Choose a different market type and try again.",
)
EXCEEDED = (
    "ReservationCapacityExceeded",
    "The requested reservation does not have sufficient compatible and available capacity for this request.",
)


@dataclass(frozen=True)
class Reservation:
    """Capacity for machines of one type in one zone."""

    key: str
    region: str
    instance_type: str
    zone: str
    count: int
    platform: str = LINUX
    tenancy: str = "default"
    starts_at: float = 0.0
    ends_at: float = 0.0
    """0 for never."""
    is_block: bool = False
    is_open: bool = True
    cancelled: bool = False

    def state(self, now: float) -> str:
        """Return its state as EC2 names it."""
        if self.cancelled:
            return "cancelled"
        if now < self.starts_at:
            return "scheduled"
        return "expired" if 0 < self.ends_at <= now else "active"

    def fits(self, instance_type: str, zone: str) -> bool:
        """Return whether a Linux machine of this type in this zone may use it."""
        needed = (instance_type, zone or self.zone, LINUX, "default")
        return (self.instance_type, self.zone, self.platform, self.tenancy) == needed


@dataclass(frozen=True)
class Reservations:
    """The reservations of the account, and the machines in them."""

    faults: Faults
    end_at: Callable[[str, float], None]
    """Ends a machine at a time."""
    _known: dict[str, Reservation] = field(default_factory=dict)
    _offered: dict[str, Reservation] = field(default_factory=dict)
    _members: dict[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer | None:
        """Answer a call about reservations; None for any other."""
        match request.action:
            case "CreateCapacityReservation":
                return self._create(request)
            case "DescribeCapacityReservations":
                return self._describe(request)
            case "CancelCapacityReservation":
                return self._cancel(request)
            case "DescribeCapacityBlockOfferings":
                return self._offer(request)
            case "PurchaseCapacityBlock":
                return self._purchase(request)
        return None

    def find_room(
        self, key: str, market: str, pool: tuple[str, str], wanted: int
    ) -> tuple[int, tuple[str, str] | None]:
        """Return how many machines of a pool (type, zone) a named reservation takes, and why not all."""
        found = self._known.get(key)
        if found is None:
            return 0, ("InvalidCapacityReservationId.NotFound", f"The Capacity Reservation ID '{key}' does not exist")
        if found.is_block != (market == "capacity-block"):
            return 0, WRONG_MARKET
        if found.is_block and self._state(found) == "scheduled":
            words = f"We currently do not have sufficient {pool[0]} capacity in the Availability Zone you requested."
            return 0, ("InsufficientInstanceCapacity", words)
        if self._state(found) != "active" or not found.fits(*pool):
            return 0, EXCEEDED
        room = min(self._free(found), wanted)
        return room, None if room >= wanted else EXCEEDED

    def find_open(self, region: str, pool: tuple[str, str]) -> str:
        """Return the open reservation that a launch uses without naming it, as EC2 does; "" without one."""
        fitting = (one for one in self._known.values() if one.is_open and not one.is_block and one.region == region)
        usable = (one for one in fitting if one.fits(*pool) and self._state(one) == "active" and self._free(one))
        return next((one.key for one in usable), "")

    def enter(self, key: str, instances: Iterable[str]) -> None:
        """Put launched machines into a reservation."""
        found = self._known[key]
        for one in instances:
            self._members[one] = key
            if found.is_block:
                moto_state.find_instance(found.region, one).lifecycle = "capacity-block"  # type: ignore[union-attr]
                self.end_at(one, found.ends_at - EARLY_S)

    def key_of(self, instance_id: str) -> str:
        """Return the reservation that a machine was launched into; "" for none."""
        return self._members.get(instance_id, "")

    def name_in(self, answer: Answer) -> Answer:
        """Return a description of instances with the reservation of each, which moto does not know."""

        def put(found: re.Match[bytes]) -> bytes:
            key = self._members.get(found[1].decode())
            return found[0] + (f"<capacityReservationId>{key}</capacityReservationId>".encode() if key else b"")

        return replace(answer, body=_INSTANCE.sub(put, answer.body)) if self._members else answer

    def _state(self, one: Reservation) -> str:
        return self.faults.value("reserved") or one.state(time.time())

    def _free(self, one: Reservation) -> int:
        members = [moto_state.find_instance(one.region, each) for each, key in self._members.items() if key == one.key]
        return max(0, one.count - sum(bool(each and each.state in OCCUPYING) for each in members))

    def _create(self, request: Request) -> Answer:
        params = request.params
        zone, kind = params.get("AvailabilityZone", f"{request.region}a"), params["InstanceType"]
        if zone not in moto_state.zones_with(request.region, kind):
            return error("ec2", "Unsupported", f"The requested configuration is not supported: {kind} in {zone}.")
        made = Reservation(
            _new_key(),
            request.region,
            kind,
            zone,
            int(params["InstanceCount"]),
            platform=params.get("InstancePlatform", LINUX),
            tenancy=params.get("Tenancy", "default"),
            starts_at=time.time(),
            ends_at=_parse(params.get("EndDate")) or 0.0,
            is_open=params.get("InstanceMatchCriteria", "open") == "open",
        )
        self._known[made.key] = made
        return ec2_answer(request.action, {"capacityReservation": self._show(made)})

    def _describe(self, request: Request) -> Answer:
        wanted = request.values("CapacityReservationId")
        known = {key: one for key, one in self._known.items() if one.region == request.region}
        missing = next((key for key in wanted if key not in known), None)
        if missing is not None:
            words = f"The Capacity Reservation ID '{missing}' does not exist"
            return error("ec2", "InvalidCapacityReservationId.NotFound", words)
        shown: list[Tree] = [self._show(known[key]) for key in wanted or known]
        return ec2_answer(request.action, {"capacityReservationSet": shown})

    def _cancel(self, request: Request) -> Answer:
        key = request.params["CapacityReservationId"]
        if self._known[key].is_block:
            return error("ec2", "OperationNotPermitted", "A Capacity Block can't be cancelled.")
        self._known[key] = replace(self._known[key], cancelled=True)
        return ec2_answer(request.action, {"return": True})

    def _offer(self, request: Request) -> Answer:
        """Offer the block that was asked for: at any time, also one that has begun, which AWS does not."""
        params, region = request.params, request.region
        kind, begins = params["InstanceType"], _parse(params.get("StartDateRange")) or time.time()
        zones, hours = moto_state.zones_with(region, kind), int(params["CapacityDurationHours"])
        key = f"cbr-{uuid.uuid4().hex[:17]}"
        count = int(params.get("InstanceCount", 1))
        zone = zones[0] if zones else f"{region}a"
        one = Reservation("", region, kind, zone, count, is_block=True, is_open=False)
        one = replace(one, starts_at=begins, ends_at=begins + hours * 3600)
        self._offered[key] = one
        fee = (prices.on_demand_usd(kind, region) or 0.0) * hours * count * 0.8
        shown: Tree = {
            "capacityBlockOfferingId": key,
            "instanceType": kind,
            "availabilityZone": one.zone,
            "instanceCount": count,
            "startDate": _format(one.starts_at),
            "endDate": _format(one.ends_at),
            "capacityBlockDurationHours": hours,
            "upfrontFee": f"{fee:.2f}",
            "currencyCode": "USD",
            "tenancy": "default",
        }
        return ec2_answer(request.action, {"capacityBlockOfferingSet": [shown]})

    def _purchase(self, request: Request) -> Answer:
        offered = self._offered.pop(request.params["CapacityBlockOfferingId"], None)
        if offered is None:
            return error("ec2", "InvalidParameterValue", "The Capacity Block offering is no longer available.")
        made = replace(offered, key=_new_key(), platform=request.params["InstancePlatform"])
        self._known[made.key] = made
        return ec2_answer(request.action, {"capacityReservation": self._show(made)})

    def _show(self, one: Reservation) -> Tree:
        state = self._state(one)
        ends = {"endDate": _format(one.ends_at)} if one.ends_at else {}
        return {
            "capacityReservationId": one.key,
            "ownerId": ACCOUNT,
            "instanceType": one.instance_type,
            "instancePlatform": one.platform,
            "availabilityZone": one.zone,
            "tenancy": one.tenancy,
            "totalInstanceCount": one.count,
            "availableInstanceCount": self._free(one) if state == "active" else 0,
            "state": state,
            "startDate": _format(one.starts_at),
            "endDateType": "limited" if one.ends_at else "unlimited",
            "instanceMatchCriteria": "open" if one.is_open else "targeted",
            "reservationType": "capacity-block" if one.is_block else "default",
            **ends,
        }


def _new_key() -> str:
    return f"cr-{uuid.uuid4().hex[:17]}"


def _parse(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _format(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
