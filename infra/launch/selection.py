"""Which offers a launch can use: those of its reservation, in its subnets' zones, within the quotas."""

from collections.abc import Sequence
from dataclasses import replace

from infra.ec2.account import Account
from infra.ec2.capacity.reservations import Reservation, find_reservation, narrow_request
from infra.ec2.market import offers, quotas
from infra.ec2.market.quotas import Quota
from infra.ec2.network.subnets import Subnet
from infra.errors import NotFoundError, QuotaError
from infra.model import LaunchRequest, Offer


def find_offers(account: Account, request: LaunchRequest) -> tuple[list[Offer], Reservation | None]:
    """Return a region's suitable offers, or that of the requested reservation, and the reservation."""
    if not request.reservation:
        return offers.choose(offers.list_offers(account, request.instance_types), request, account.region), None
    reserved = find_reservation(account, request.reservation)
    request = narrow_request(request, reserved)
    if reserved.is_block:
        listed = offers.make_block_offers(account, reserved.instance_type, reserved.zone)
    else:
        listed = offers.list_offers(account, request.instance_types)
    return offers.choose(listed, request, account.region), reserved


def choose_reachable(
    account: Account, found: Sequence[Offer], subnets: Sequence[Subnet], *, named: bool
) -> tuple[Offer, ...]:
    """Return the offers with prices in the subnets' zones; raises NotFoundError without any."""
    zones = {one.zone for one in subnets}
    kept = [{zone: price for zone, price in offer.prices.items() if zone in zones} for offer in found]
    reachable = tuple(replace(offer, prices=prices) for offer, prices in zip(found, kept, strict=True) if prices)
    if reachable:
        return reachable
    offered = sorted({zone for offer in found for zone in offer.prices})
    if named:
        raise NotFoundError(
            f"the subnets are in {', '.join(sorted(zones))}, but {found[0].instance_type} is offered in {', '.join(offered)}",
            "use a --subnet there, or another --gpu or --instance-type",
        )
    raise NotFoundError(
        f"the default VPC of {account.region} has no subnet in {', '.join(offered)}",
        f"aws ec2 create-default-subnet --region {account.region} --availability-zone {offered[0]}",
    )


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
