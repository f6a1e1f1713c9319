"""A region's offers: all GPU machines in both markets, with prices."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from infra.base.money import format_rate
from infra.base.parallel import call_parallel
from infra.ec2.account import Account
from infra.ec2.cache import cached
from infra.ec2.market import catalogue, prices
from infra.ec2.market.catalogue import Info
from infra.ec2.market.similar import list_similar, memory_gb
from infra.errors import Change, CloudError, NotFoundError, UsageError
from infra.model import Gpu, LaunchRequest, Market, Offer, parse_gpu

DAY_S, HOUR_S = 86_400, 3_600
# Suitable machines may cost at most this many times the cheapest: a larger sibling often has capacity when the smallest has
# none, but a much more expensive one would be a surprise.
SPREAD = 1.5


def list_offers(account: Account, instance_types: Sequence[str] = (), *, refresh: bool = False) -> list[Offer]:
    """Return the region's offers of GPU machines, or of the named instance types, cheapest first."""
    words = "-".join(sorted(instance_types)) or "gpus"
    names = instance_types or catalogue.GPU_FAMILIES

    def read_types() -> Any:
        return cached(
            account, f"types-{words}", DAY_S, lambda: catalogue.read_catalogue(account, names), refresh=refresh
        )

    def read_prices() -> Any:
        return cached(
            account, f"prices-{words}", HOUR_S, lambda: prices.find_on_demand(account, instance_types), refresh=refresh
        )

    def read_spot() -> Any:
        return cached(account, f"spot-{words}", HOUR_S, lambda: prices.find_spot(account, names), refresh=refresh)

    types, on_demand, spot = call_parallel(read_types, read_prices, read_spot)
    offers = [offer for info in types for offer in make_offers(account.region, info, on_demand, spot)]
    return sorted(offers, key=lambda offer: (offer.price_usd, offer.instance_type, offer.market))


def find_network_gbps(account: Account, instance_type: str) -> float:
    """Return the Gbit/s that an instance type's network interface always has; 0 if AWS does not say."""
    types: Any = cached(
        account, f"types-{instance_type}", DAY_S, lambda: catalogue.read_catalogue(account, (instance_type,))
    )
    return float(types[0].get("network_gbps", 0.0)) if types else 0.0


def find_disk_price(account: Account) -> float:
    """Return the price of a gp3 disk in USD per GiB and month, cached for an hour."""
    return float(cached(account, "disk", HOUR_S, lambda: prices.find_disk(account)))


def make_offers(
    region: str, info: Info, on_demand: dict[str, float], spot: dict[str, dict[str, float]]
) -> Iterable[Offer]:
    """Yield the offers of an instance type: one for each market with a price."""
    name, zones = info["instance_type"], info["zones"]
    by_market: dict[Market, dict[str, float]] = {
        "on-demand": dict.fromkeys(zones, on_demand[name]) if name in on_demand else {},
        # EC2 ends a spot machine that would cost more than on demand; without that price it could cost anything.
        "spot": {zone: price for zone, price in spot.get(name, {}).items() if zone in zones and name in on_demand},
    }
    facts = facts_of(info)
    for market, found in by_market.items():
        if found and market in info["markets"]:
            yield Offer(name, region, market, found, parse_gpu(info["gpu"]), **facts, on_demand_usd=on_demand[name])


def make_block_offers(account: Account, instance_type: str, zone: str) -> list[Offer]:
    """Return the offer of a Capacity Block's machine, which is paid already; it may have no other price."""
    [info] = catalogue.read_catalogue(account, (instance_type,))
    return [Offer(instance_type, account.region, "on-demand", {zone: 0.0}, parse_gpu(info["gpu"]), **facts_of(info))]


def facts_of(info: Info) -> dict[str, Any]:
    """Return the fields of an offer that describe its machine."""
    speeds = {key: info.get(key, 0.0) for key in ("network_gbps", "network_peak_gbps")}  # not in earlier caches
    return {key: info[key] for key in ("gpu_memory_gib", "vcpus", "memory_gib", "nvme_gb", "network")} | speeds


def choose(offers: Sequence[Offer], request: LaunchRequest, region: str) -> list[Offer]:
    """Return the suitable offers of one market, cheapest first.

    Raises NotFoundError, with alternatives, if there are none.
    """
    fitting = [offer for offer in match(offers, request, region) if offer.market in request.markets]
    inside = [narrow(offer, request.zones) for offer in fitting if set(request.zones) & set(offer.prices)]
    if not fitting:
        raise refuse_market(match(offers, request, region), request, region)
    if request.zones and not inside:
        raise refuse_zones(fitting, request)
    fitting = inside if request.zones else fitting
    taken = []
    for market in request.markets:
        of_market = [offer for offer in fitting if offer.market == market]
        most = SPREAD * min((offer.price_usd for offer in of_market), default=0)
        # Explicitly named types are accepted at any price.
        taken += [offer for offer in of_market if request.instance_types or offer.price_usd <= most]
    return taken


def refuse_market(found: Sequence[Offer], request: LaunchRequest, region: str) -> NotFoundError:
    """Return the error for machines that exist only in the other market."""
    what = f"no {' or '.join(request.markets)} instance type matches in {region}"
    if not found:
        return NotFoundError(what, f"gpujob offers --region {region}")
    other = min(found, key=lambda offer: offer.price_usd)
    change = Change(f"--{other.market}", instead=("--spot", "--on-demand", "--spot-first"))
    return NotFoundError(f"{what}; {other.market}: {other.instance_type} {format_rate(other.price_usd)}", change=change)


def refuse_zones(found: Sequence[Offer], request: LaunchRequest) -> NotFoundError:
    """Return the error for machines that exist only in other zones."""
    price, zone, name = min(
        (price, zone, offer.instance_type) for offer in found for zone, price in offer.prices.items()
    )
    zones = sorted({zone for offer in found for zone in offer.prices})
    return NotFoundError(
        f"no instance type matches in {', '.join(request.zones)}; available in {', '.join(zones)} ({name} {format_rate(price)})",
        change=Change("--zone", zone),
    )


def narrow(offer: Offer, zones: Sequence[str]) -> Offer:
    """Return the offer limited to these zones."""
    return replace(offer, prices={zone: price for zone, price in offer.prices.items() if zone in zones})


def match(offers: Sequence[Offer], request: LaunchRequest, region: str) -> list[Offer]:
    """Return the offers with the requested GPU or GPU memory."""
    if not offers:
        raise CloudError(
            f"AWS lists no price for {', '.join(request.instance_types) or 'GPU machines'} in {region}",
            "try another --region",
        )
    if request.instance_types:
        check_named(offers, request)
        return list(offers)
    found = (
        match_gpu(offers, request, request.gpu, region)
        if request.gpu
        else [offer for offer in offers if offer.gpu and offer.gpu.count == 1]
    )
    if not request.gpu_memory_gb:
        return found
    enough = [offer for offer in found if memory_gb(offer) >= request.gpu_memory_gb]
    if not enough:
        raise refuse_memory(found, request, region)
    return enough


def check_named(offers: Sequence[Offer], request: LaunchRequest) -> None:
    """Raise UsageError if a named instance type does not have the requested GPU or GPU memory."""
    source = "--reservation" if request.reservation else "--instance-type"
    for offer in offers:
        has = f"{offer.instance_type} has {f'{offer.gpu.count} x {offer.gpu.name}' if offer.gpu else 'no GPU'}"
        if request.gpu and not is_gpu(offer, request.gpu):
            raise UsageError(f"{has}, but --gpu is {request.gpu}", f"omit --gpu or {source}")
        if memory_gb(offer) < request.gpu_memory_gb:
            raise UsageError(
                f"{has} with {memory_gb(offer)} GB, but --gpu-memory is {request.gpu_memory_gb:g} GB",
                f"omit --gpu-memory or {source}",
            )


def is_gpu(offer: Offer, gpu: Gpu) -> bool:
    """Return whether an offer has exactly this GPU; a count of 0 means any number."""
    own = offer.gpu
    return own is not None and own.name.lower() == gpu.name.lower() and gpu.count in (0, own.count)


def refuse_memory(found: Sequence[Offer], request: LaunchRequest, region: str) -> NotFoundError:
    """Return the error for more memory than any GPU has, with the largest GPU."""
    largest = max(found, key=lambda offer: (memory_gb(offer), -offer.price_usd), default=None)
    what = f"no {request.gpu or 'GPU'} in {region} has {request.gpu_memory_gb:g} GB of memory"
    if largest is None:
        return NotFoundError(what, f"gpujob offers --region {region}")
    has = f"the largest has {memory_gb(largest)}: {largest.gpu} {format_rate(largest.price_usd)}"
    return NotFoundError(f"{what}; {has}", change=Change("--gpu-memory", str(memory_gb(largest))))


def match_gpu(offers: Sequence[Offer], request: LaunchRequest, gpu: Gpu, region: str) -> list[Offer]:
    """Return the offers with this GPU (count 0: any number); raises NotFoundError with similar ones."""
    found = [offer for offer in offers if is_gpu(offer, gpu)]
    if found:
        return found
    counts = sorted({offer.gpu.count for offer in offers if offer.gpu and is_gpu(offer, Gpu(gpu.name, 0))})
    similar = list_similar(offers, gpu, request.markets)
    said = f". Similar: {', '.join(map(str, similar))}" if similar else ""
    if counts:
        said = f"; machines have {', '.join(map(str, counts))}{said}"
        what = f"no machine with {gpu.count} x {gpu.name} in {region}{said}"
    else:
        what = f"no {gpu.name} in {region}{said}"
    if not similar:
        raise NotFoundError(what, f"gpujob offers --region {region}")
    raise NotFoundError(what, change=Change("--gpu", str(similar[0].gpu)))
