"""The plan of `up`, made before anything is billed."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.base.money import USD_PER_GB
from infra.base.parallel import call_parallel, map_parallel
from infra.cluster.clusters import find_elsewhere
from infra.ec2.account import Account
from infra.ec2.capacity.reservations import Reservation, check_free
from infra.ec2.machines import images
from infra.ec2.machines.images import Image
from infra.ec2.machines.lease import make_lease
from infra.ec2.market import offers, quotas
from infra.ec2.market.quotas import Quota
from infra.ec2.market.scores import find_scores
from infra.ec2.network.address import describe_proxy, find_caller_address
from infra.ec2.network.groups import Group, check_groups, find_gaps, find_groups
from infra.ec2.network.subnets import ANYWHERE, Subnet, find_subnets, list_blocks
from infra.errors import (
    CapacityError,
    Change,
    CloudError,
    GpujobError,
    NotFoundError,
    QuotaError,
    TakenError,
    UsageError,
)
from infra.launch.readiness import BOOT_S
from infra.launch.selection import allowed, choose_reachable, find_offers
from infra.ledger.attempts import Attempt, find_attempt
from infra.ledger.endings import Ended, find_ended, has_ended
from infra.model import LaunchRequest, Lease, Market, NetworkRequest, Offer
from infra.names import check_name
from infra.setup.playbook import Setup, check_installed, check_unattended, check_words, find_program

# The parts of the playbook that `up` runs by default. A Deep Learning image has the driver and Python, and a baked image all that
# its machine had; no image contains what was on an instance store.
ROLES: Mapping[images.Kind, tuple[str, ...]] = {
    "ubuntu": (),
    "dlami": ("ssh", "updates", "scratch"),
    "baked": ("scratch",),
}


@dataclass(frozen=True)
class Choice:
    """The offers of one region, cheapest first, and what a node there needs."""

    account: Account
    offers: tuple[Offer, ...]
    image: Image
    subnets: tuple[Subnet, ...]
    """Of one VPC."""
    quotas: tuple[Quota, ...]
    gib_month_usd: float
    groups: tuple[Group, ...] = ()
    """Existing security groups to use instead of a new one."""
    reservation: Reservation | None = None
    """The capacity reservation to launch into."""
    score: int | None = None
    """The region's spot placement score, 1 to 10; None if unknown or not asked for."""
    sources: tuple[str, ...] = ()
    """The networks that a new security group is open to; none for this computer's address."""

    @property
    def vpc(self) -> str:
        """The VPC of its subnets."""
        return self.subnets[0].vpc

    def of_market(self, market: Market) -> list[Offer]:
        """Return the offers of one market."""
        return [offer for offer in self.offers if offer.market == market]


@dataclass(frozen=True)
class Plan:
    """What `up` is about to launch."""

    name: str
    owner: str
    request: LaunchRequest
    choices: tuple[Choice, ...]
    """By region, in the order to try."""
    address: str
    """The address of this computer, as a network of one; "" if nothing is opened to it."""
    lease: Lease
    attempt: Attempt | None = None
    """The interrupted `up` that this one resumes."""
    ended: tuple[Ended, ...] = ()
    """Ended clusters of this name, whose orphaned resources are removed first."""
    boot_s: float = BOOT_S
    """Time limit for a machine to start, and then to become reachable."""
    usd_per_gb: float = USD_PER_GB
    """Price of downloads."""
    setup: Setup | None = None
    """The parts of the playbook to run before the cluster is ready."""

    @property
    def warnings(self) -> list[str]:
        """What stands in the way: of the launch now, and of what the network does not let through."""
        nodes, private = self.request.nodes, self.request.network.private
        obstacle = self.obstacle
        gaps = [obstacle.what] if obstacle else []
        gaps += [gap for one in self.choices for gap in find_gaps(one.groups, self.address, nodes)]
        open_ones = [one.subnet_id for choice in self.choices for one in choice.subnets if one.public]
        if (
            self.address
            and not self.first.account.is_local
            and (proxied := describe_proxy(self.first.account.checkip_url))
        ):
            gaps.append(proxied)
        if ANYWHERE in self.request.network.ssh_from:
            gaps.append("port 22 is open to every computer; a login still needs the cluster's key")
        if private and open_ones:
            gaps.append(
                f"{' and '.join(open_ones)} leads to the internet only with a public address, so a private machine there"
                " reaches no package index"
            )
        return list(dict.fromkeys(gaps))

    @property
    def obstacle(self) -> CapacityError | None:
        """Why its reservation takes no machine now; None if it does, or already has this launch's."""
        reserved = self.first.reservation
        try:
            if reserved and not self.attempt:
                check_free(reserved, self.request.nodes)
        except CapacityError as error:
            return error
        return None

    @property
    def first(self) -> Choice:
        """The choice to try first."""
        return self.choices[0]


def make_plan(
    account: Account,
    name: str,
    request: LaunchRequest,
    variables: Mapping[str, Any] | None = None,
    *,
    plan_only: bool = False,
) -> Plan:
    """Return the plan with prices, without creating anything; `variables` are the playbook's.

    With `plan_only`, a cluster of this name may exist.

    Unsuitable regions are left out if others remain. Raises NotFoundError for an unknown GPU, type, zone or image, QuotaError if
    AWS would refuse, and UsageError for too little money, or a plain image that cannot be set up.
    """
    check_name(name)
    if request.setup and not account.is_local:
        check_words(Setup(variables=variables or {}))
        if request.image == "ubuntu":
            check_installed()
            check_unattended(variables or {})
    owner = account.identity.arn  # first: its error for invalid credentials is the clearest
    earlier = find_attempt(account, name, request)
    if earlier and not request.sent and has_ended(account.in_region(earlier.region), name, earlier.token):
        earlier = None  # its token would only return the ended machine; a group replaces its machines
    regions = list(dict.fromkeys([earlier.region, *request.regions] if earlier else request.regions))
    accounts = [account.in_region(region) for region in regions] or [account]
    check_zones([one.region for one in accounts], request.zones)
    token = earlier.token if earlier else ""
    results, address, ended = call_parallel(
        lambda: map_parallel(lambda one: attempt(one, request, earlier), accounts),
        lambda: find_address(account, request.network),
        lambda: find_all_ended(accounts, name, token, plan_only=plan_only),
    )
    choices = tuple(result for result in results if isinstance(result, Choice))
    choices = choices if earlier else order_choices(choices, request)
    if not choices or (earlier and isinstance(results[0], GpujobError)):
        raise next(result for result in results if isinstance(result, GpujobError))
    taken = [offer for choice in choices for offer in choice.offers]
    most = max(choice.gib_month_usd for choice in choices)
    latest = latest_end(choices)
    lease = earlier.lease if earlier else make_lease(taken, request, most, time.time(), latest)
    setup = choose_setup(account, request, choices[0].image, variables or {})
    return Plan(name, owner, request, choices, address, lease, earlier, tuple(ended), setup=setup)


def order_choices(choices: tuple[Choice, ...], request: LaunchRequest) -> tuple[Choice, ...]:
    """Return the choices of a launch with their spot scores, the highest first."""
    if len(choices) < 2 or request.markets[0] != "spot":
        return choices
    types = {offer.instance_type for choice in choices for offer in choice.of_market("spot")}
    regions = [choice.account.region for choice in choices]
    scores = find_scores(choices[0].account, sorted(types), request.nodes, regions)
    scored = [replace(choice, score=scores.get(choice.account.region)) for choice in choices]
    return tuple(sorted(scored, key=lambda choice: -(choice.score or 0)))


def find_all_ended(accounts: Sequence[Account], name: str, token: str, *, plan_only: bool) -> list[Ended]:
    """Return the ended clusters that block a name; raises TakenError if one exists, unless `plan_only`."""
    try:
        places = [*accounts, *find_elsewhere(accounts[0], name)]
        return [one for one in map_parallel(lambda place: find_ended(place, name, token), places) if one]
    except TakenError:
        if plan_only:
            return []
        raise


def check_zones(regions: Sequence[str], zones: Sequence[str]) -> None:
    """Raise UsageError for a zone in none of the regions, or a region with none of the zones."""
    for zone in zones:
        if not zone.startswith(tuple(regions)):
            raise UsageError(f"zone {zone} is not in {' or '.join(regions)}", "omit --zone or change --region")
    for region in regions:
        if zones and not any(zone.startswith(region) for zone in zones):
            raise UsageError(
                f"region {region} has none of the zones {', '.join(zones)}", "omit --zone or change --region"
            )


def choose_setup(account: Account, request: LaunchRequest, image: Image, variables: Mapping[str, Any]) -> Setup | None:
    """Return the parts of the playbook that this image needs; None for none, or without Ansible."""
    if account.is_local or not request.setup or image.kind not in ROLES or find_program() is None:
        return None
    return Setup(ROLES[image.kind], variables=variables)


def attempt(account: Account, request: LaunchRequest, earlier: Attempt | None) -> Choice | GpujobError:
    """Return a region's choice, or why it is unsuitable; raise errors that affect all regions."""
    try:
        return look_in(account, request, resumes=earlier is not None and earlier.region == account.region)
    except (NotFoundError, QuotaError) as error:
        return error
    except CloudError as error:
        if type(error) is CloudError:
            return error
        raise


def look_in(account: Account, request: LaunchRequest, *, resumes: bool) -> Choice:
    """Return the choice of one region; a resumed launch's machines may already use the quota."""
    (found, reserved), image, (subnets, groups, sources), used, disk = call_parallel(
        lambda: find_offers(account, request),
        lambda: images.find_image(account, request.image),
        lambda: find_network(account, request.network),
        lambda: quotas.count_used(account, list(quotas.CODES)),
        lambda: offers.find_disk_price(account),
    )
    if request.disk_gib < image.least_gib:
        raise UsageError(
            f"the image requires a disk of at least {image.least_gib} GiB",
            change=Change("--disk", str(image.least_gib)),
        )
    reachable = choose_reachable(account, found, subnets, named=bool(request.network.subnets))
    if reserved:  # its vCPUs count already
        return Choice(account, reachable, image, subnets, (), disk, groups, reserved, sources=sources)
    families = {(offer.market, quotas.family_of(offer.instance_type, offer.market)) for offer in reachable}
    limits = map_parallel(lambda key: quotas.find_quota(account, *key, used.get(key, 0)), sorted(families))
    known = [quota for quota in limits if quota]
    fitting = tuple(reachable) if resumes else allowed(reachable, known, request, account.region)
    return Choice(account, fitting, image, subnets, tuple(known), disk, groups, sources=sources)


def latest_end(choices: Sequence[Choice]) -> float:
    """Return when a lease must end, because a Capacity Block does; infinite otherwise."""
    return min(
        (one.reservation.latest_s for one in choices if one.reservation and one.reservation.is_block), default=math.inf
    )


def find_network(
    account: Account, asked: NetworkRequest
) -> tuple[tuple[Subnet, ...], tuple[Group, ...], tuple[str, ...]]:
    """Return a launch's subnets and existing security groups, and the networks that may reach port 22.

    A VPN's clients and a jump host reach a private address from inside the VPC.
    """
    subnets, groups = call_parallel(
        lambda: find_subnets(account, asked.subnets, private=asked.private),
        lambda: find_groups(account, asked.security_groups),
    )
    check_groups(groups, subnets[0].vpc)
    if asked.private and not groups and not asked.ssh_from:
        return subnets, groups, list_blocks(account, subnets[0].vpc)
    return subnets, groups, asked.ssh_from


def find_address(account: Account, asked: NetworkRequest) -> str:
    """Return this computer's address, as a network of one; "" if it does not matter."""
    return "" if asked.private or asked.ssh_from else find_caller_address(account)
