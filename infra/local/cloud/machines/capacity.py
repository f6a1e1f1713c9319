"""How many machines a pool can launch: whether the zone offers the type, and what the quota allows.

The codes and messages are those of EC2 and its fleets:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from infra.local.cloud import moto_state
from infra.local.cloud.faults import Faults
from infra.local.cloud.market import quotas
from infra.local.cloud.market.reservations import WRONG_MARKET, Reservations

Refusal = tuple[str, str]
"""Code and message."""


@dataclass(frozen=True)
class Pool:
    """An instance type in one zone on one market."""

    region: str
    instance_type: str
    zone: str
    spot: bool
    reservation: str = ""
    """The capacity reservation that the launch names."""
    market: str = ""
    """The market type that the launch names: spot, capacity-block."""


@dataclass(frozen=True)
class Capacity:
    """The local cloud's capacity."""

    faults: Faults
    reservations: Reservations
    _fleets: dict[str, list[str]] = field(default_factory=dict)
    """The fleets that each launch template was used for."""

    def find_bar(self, template: str, fleet: str, pool: Pool) -> Refusal | None:
        """Refuse a pool of a fleet for reasons other than capacity.

        The first fleets of a template may not find its new security group; the first spot request needs a role.
        """
        if pool.spot and self.faults.value("no-spot-role") is not None:
            return "AuthFailure.ServiceLinkedRoleCreationNotPermitted", (
                "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances."
            )
        asked = self._fleets.setdefault(template, [])
        if fleet not in asked:
            asked.append(fleet)
        if asked.index(fleet) >= (self.faults.number("unsettled") or 0):
            return None
        return "InvalidGroup.NotFound", "The security group of the launch template does not exist"

    def find_room(self, pool: Pool, wanted: int) -> tuple[int, Refusal | None]:
        """Return how many of the wanted machines the pool can launch, and why not all of them."""
        if pool.reservation:  # whose capacity is set aside, and whose vCPUs count already
            place = pool.instance_type, pool.zone
            return self.reservations.find_room(pool.reservation, pool.market, place, wanted)
        if pool.market == "capacity-block":
            return 0, WRONG_MARKET
        offering = moto_state.zones_with(pool.region, pool.instance_type)
        if pool.zone and offering and pool.zone not in offering:
            return 0, not_offered(pool, offering)
        if self._is_full(pool, offering):
            return 0, no_capacity(pool)
        room = self._quota_room(pool)
        return (wanted, None) if room is None or room >= wanted else (room, self._over_quota(pool))

    def enter(self, pool: Pool, instances: Collection[str]) -> None:
        """Put machines that a pool has launched into the reservation that covers them, if any."""
        key = pool.reservation or self.reservations.find_open(pool.region, (pool.instance_type, pool.zone))
        if key and instances and not pool.spot:
            self.reservations.enter(key, instances)

    def most(self) -> int | None:
        """Return the maximum size of a fleet; None if unlimited."""
        most = self.faults.number("partial")
        return None if most is None else int(most)

    def _is_full(self, pool: Pool, offering: list[str]) -> bool:
        patterns = [value.partition("@") for value in self.faults.values("no-capacity")]
        zones = [pool.zone] if pool.zone else offering or [""]
        return bool(patterns) and all(
            any(
                fnmatchcase(pool.instance_type, kind) and fnmatchcase(zone, where or "*") for kind, _, where in patterns
            )
            for zone in zones
        )

    def _quota_room(self, pool: Pool) -> int | None:
        code = quotas.code_of(pool.instance_type, pool.spot)
        vcpus = moto_state.vcpus_of(pool.instance_type)
        if code is None or not vcpus:
            return None
        used = sum(
            moto_state.vcpus_of(instance.instance_type)
            for instance in moto_state.living(pool.region)
            if quotas.code_of(instance.instance_type, instance.lifecycle == "spot") == code
        )
        return max(0, int(quotas.limit_of(code, self.faults) - used) // vcpus)

    def _over_quota(self, pool: Pool) -> Refusal:
        if pool.spot:
            return "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
        limit = quotas.limit_of(quotas.code_of(pool.instance_type, pool.spot) or "", self.faults)
        return "VcpuLimitExceeded", (
            f"You have requested more vCPU capacity than your current vCPU limit of {limit:.0f} allows for the instance"
            " bucket that the specified instance type belongs to. Please visit"
            " http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
        )


def no_capacity(pool: Pool) -> Refusal:
    """Refuse with a capacity error."""
    if pool.spot:
        return "InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request."
    where = f" in the Availability Zone you requested ({pool.zone})" if pool.zone else ""
    return "InsufficientInstanceCapacity", (
        f"We currently do not have sufficient {pool.instance_type} capacity{where}. Our system will be working on"
        " provisioning additional capacity."
    )


def not_offered(pool: Pool, offering: list[str]) -> Refusal:
    """Refuse an instance type that the zone does not offer."""
    return "Unsupported", (
        f"Your requested instance type ({pool.instance_type}) is not supported in your requested Availability Zone"
        f" ({pool.zone}). Please retry your request by not specifying an Availability Zone or choosing"
        f" {', '.join(offering)}."
    )
