"""Capacity reservations and Capacity Blocks: found, checked, and named in a launch.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-reservation-overview.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import CapacityError, Change, NotFoundError, UsageError
from infra.model import LaunchRequest, Market

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CapacityReservationTypeDef

BLOCK = "capacity-block"
LINUX = "Linux/UNIX"
# EC2 begins to end the machines of a block half an hour before its end; those of an UltraServer must be gone an hour before:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-monitor.html
EARLY_S, EARLY_ULTRA_S = 1800, 3600
ULTRA = "p6e-"
LATER = ("scheduled", "pending", "payment-pending", "assessing", "delayed")
"""The states from which a reservation may still become active."""


@dataclass(frozen=True)
class Reservation:
    """Capacity for machines of one type in one zone, as EC2 describes it."""

    reservation_id: str
    owner: str
    """The account that reserved it, and may have shared it."""
    instance_type: str
    zone: str
    state: str
    total: int
    free: int
    starts_at: float
    """0 if EC2 does not say."""
    ends_at: float
    """0 for never."""
    is_block: bool
    """Whether it is a Capacity Block, which is paid in advance and ends its machines."""

    @property
    def latest_s(self) -> float:
        """When EC2 begins to end its machines; 0 for never: they outlive what is not a block."""
        early_s = EARLY_ULTRA_S if self.instance_type.startswith(ULTRA) else EARLY_S
        return self.ends_at - early_s if self.is_block and self.ends_at else 0.0

    def __str__(self) -> str:
        kind = "Capacity Block" if self.is_block else "capacity reservation"
        return f"{kind} {self.reservation_id}"


def find_reservation(account: Account, reservation_id: str) -> Reservation:
    """Return a reservation that the account has or shares.

    Raises NotFoundError if there is none, and UsageError if it cannot take this machine.
    """
    try:
        with aws_errors():
            answer = account.ec2.describe_capacity_reservations(CapacityReservationIds=[reservation_id])
    except NotFoundError as error:
        what = f"no capacity reservation {reservation_id} in {account.region}, nor one shared with this account"
        raise NotFoundError(what, f"use its --region; list them: {list_command(account)}") from error
    [described] = answer["CapacityReservations"]
    found = make_reservation(described)
    check_lasting(account, found, described)
    return found


def make_reservation(described: "CapacityReservationTypeDef") -> Reservation:
    """Return a reservation from EC2's description."""
    return Reservation(
        described["CapacityReservationId"],
        described.get("OwnerId", ""),
        described["InstanceType"],
        described["AvailabilityZone"],
        described["State"],
        described.get("TotalInstanceCount", 0),
        described.get("AvailableInstanceCount", 0),
        read_time(described, "StartDate"),
        read_time(described, "EndDate"),
        described.get("ReservationType") == BLOCK,
    )


def read_time(described: Any, name: str) -> float:
    """Return a time of EC2's description; 0 if it has none."""
    return float(described[name].timestamp()) if name in described else 0.0


def check_lasting(account: Account, found: Reservation, described: "CapacityReservationTypeDef") -> None:
    """Raise UsageError for what waiting does not change: an ended reservation, or one for other machines."""
    if found.state not in ("active", *LATER):
        raise UsageError(f"{found} is {found.state}", f"use another one: {list_command(account)}")
    platform, tenancy = described.get("InstancePlatform", LINUX), described.get("Tenancy", "default")
    if platform != LINUX or tenancy != "default":
        raise UsageError(
            f"{found} is for {platform} with {tenancy} tenancy, but gpujob launches {LINUX} with default tenancy",
            f"use another one: {list_command(account)}",
        )
    if described.get("Interruptible"):
        raise UsageError(f"{found} is interruptible, which gpujob does not support", "use another one, or --spot")


def check_free(found: Reservation, nodes: int) -> None:
    """Raise CapacityError unless a reservation can take this many machines now."""
    if found.state in LATER:
        begins = f"; it begins at {describe_time(found.starts_at)}" if found.state == "scheduled" else ""
        raise CapacityError(f"{found} is {found.state}{begins}", "wait for it: --wait 12h")
    if found.free < nodes:
        machines = f"{found.free} of {found.total} free"
        if found.free:
            raise CapacityError(
                f"{found} has {machines}; --nodes is {nodes}", change=Change("--nodes", str(found.free))
            )
        raise CapacityError(f"{found} has {machines}", "wait for one: --wait 6h; who uses them: gpujob ls")


def narrow_request(request: LaunchRequest, found: Reservation) -> LaunchRequest:
    """Return the request for a reservation's type and zone; raises UsageError if it names others."""
    kind, zone, nodes = found.instance_type, found.zone, request.nodes
    if request.instance_types and kind not in request.instance_types:
        named = " and ".join(request.instance_types)
        raise UsageError(
            f"{found} is for {kind}, but --instance-type is {named}", change=Change("--instance-type", kind)
        )
    if request.zones and zone not in request.zones:
        named = " and ".join(request.zones)
        raise UsageError(f"{found} is in {zone}, but --zone is {named}", change=Change("--zone", zone))
    if nodes > found.total:
        what = f"{found} is for {count_machines(found.total)}, but --nodes is {nodes}"
        raise UsageError(what, change=Change("--nodes", str(found.total)))
    return replace(request, instance_types=(kind,), zones=(zone,))


def name_reservation(template: dict[str, Any], found: Reservation) -> dict[str, Any]:
    """Return a launch template whose machines use the reservation only."""
    target = {"CapacityReservationTarget": {"CapacityReservationId": found.reservation_id}}
    market = {"InstanceMarketOptions": {"MarketType": BLOCK}} if found.is_block else {}
    return {**template, "CapacityReservationSpecification": target, **market}


def market_of(found: Reservation | None, market: Market) -> str:
    """Return EC2's word for the market that a fleet asks."""
    return BLOCK if found and found.is_block else market


def count_machines(number: int) -> str:
    """Return a number of machines in words."""
    return f"{number} machine{'s' * (number != 1)}"


def describe_time(at: float) -> str:
    """Return a time of day with its date in the local time zone."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%a %d %b %H:%M}"


def list_command(account: Account) -> str:
    """Return the command that lists a region's reservations."""
    return f"aws ec2 describe-capacity-reservations --region {account.region}"
