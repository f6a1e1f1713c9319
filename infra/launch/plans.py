"""The plan of `up`, made before anything is billed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.base.parallel import call_parallel, map_parallel
from infra.cluster.clusters import find_elsewhere
from infra.ec2.account import Account
from infra.ec2.machines import images, network
from infra.ec2.machines.images import Image
from infra.ec2.machines.lease import make_lease
from infra.ec2.market import offers, quotas
from infra.ec2.market.quotas import Quota
from infra.errors import Change, CloudError, GpujobError, NotFoundError, QuotaError, TakenError, UsageError
from infra.launch.readiness import BOOT_S
from infra.ledger.attempts import Attempt, find_attempt
from infra.ledger.endings import Ended, find_ended, has_ended
from infra.ledger.traffic import USD_PER_GB
from infra.model import LaunchRequest, Lease, Market, Offer
from infra.names import check_name
from infra.setup.playbook import Setup, check_installed, check_words, find_program

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
    vpc: str
    subnets: Mapping[str, str]
    """Default subnets by zone."""
    quotas: tuple[Quota, ...]
    gib_month_usd: float

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
    """The address, as a network of one, that may reach the nodes."""
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
    owner = account.identity.arn  # first: its error for invalid credentials is the clearest
    earlier = find_attempt(account, name, request)
    if earlier and has_ended(account.in_region(earlier.region), name, earlier.token):
        earlier = None  # its token would only return the ended machine
    regions = list(dict.fromkeys([earlier.region, *request.regions] if earlier else request.regions))
    accounts = [account.in_region(region) for region in regions] or [account]
    check_zones([one.region for one in accounts], request.zones)
    token = earlier.token if earlier else ""
    results, address, ended = call_parallel(
        lambda: map_parallel(lambda one: attempt(one, request, earlier), accounts),
        lambda: network.find_caller_address(account),
        lambda: find_all_ended(accounts, name, token, plan_only=plan_only),
    )
    choices = tuple(result for result in results if isinstance(result, Choice))
    if not choices or (earlier and isinstance(results[0], GpujobError)):
        raise next(result for result in results if isinstance(result, GpujobError))
    taken = [offer for choice in choices for offer in choice.offers]
    most = max(choice.gib_month_usd for choice in choices)
    lease = earlier.lease if earlier else make_lease(taken, request, most, time.time())
    setup = choose_setup(account, request, choices[0].image, variables or {})
    return Plan(name, owner, request, choices, address, lease, earlier, tuple(ended), setup=setup)


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
    found, image, (vpc, subnets), used, disk = call_parallel(
        lambda: offers.choose(offers.list_offers(account, request.instance_types), request, account.region),
        lambda: images.find_image(account, request.image),
        lambda: network.find_subnets(account),
        lambda: quotas.count_used(account, list(quotas.CODES)),
        lambda: offers.find_disk_price(account),
    )
    if request.disk_gib < image.least_gib:
        raise UsageError(
            f"the image requires a disk of at least {image.least_gib} GiB",
            change=Change("--disk", str(image.least_gib)),
        )
    reachable = [offer for offer in found if set(offer.prices) & set(subnets)]
    if not reachable:
        raise NotFoundError(
            f"the default VPC of {account.region} has no subnet in {', '.join(sorted(found[0].prices))}",
            f"aws ec2 create-default-subnet --region {account.region} --availability-zone {min(found[0].prices)}",
        )
    families = {(offer.market, quotas.family_of(offer.instance_type, offer.market)) for offer in reachable}
    limits = map_parallel(lambda key: quotas.find_quota(account, *key, used.get(key, 0)), sorted(families))
    known = [quota for quota in limits if quota]
    fitting = tuple(reachable) if resumes else allowed(reachable, known, request, account.region)
    return Choice(account, fitting, image, vpc, subnets, tuple(known), disk)


def allowed(found: Sequence[Offer], limits: Sequence[Quota], request: LaunchRequest, region: str) -> tuple[Offer, ...]:
    """Return the offers within the quotas; raises QuotaError, with the command to raise one, if none is."""
    left = {(quota.market, quota.family): quota for quota in limits}
    fitting, refused = [], []
    for offer in found:
        quota = left.get((offer.market, quotas.family_of(offer.instance_type, offer.market)))
        if quota is None or offer.vcpus * request.nodes <= quota.left_vcpus:
            fitting.append(offer)
        else:
            refused.append((offer, quota))
    if fitting:
        return tuple(fitting)
    offer, quota = refused[0]
    wanted = offer.vcpus * request.nodes
    used = f", of which {quota.used_vcpus} are in use" if quota.used_vcpus else ""
    raise QuotaError(
        f"{request.nodes} x {offer.instance_type} needs {wanted} vCPUs; the account's quota of {offer.market} {quota.family}"
        f" machines in {region} is {quota.vcpus}{used}",
        quotas.increase_command(region, quota.code, quota.used_vcpus + wanted),
    )
