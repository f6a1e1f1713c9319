"""What can be rented in a region, and what it costs: every GPU machine on both markets."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from infra.ec2 import catalogue, prices
from infra.ec2.account import Account
from infra.ec2.cache import keep
from infra.ec2.catalogue import Info
from infra.errors import CloudError, NotFoundError
from infra.model import Gpu, Market, Offer, Wishes
from infra.parallel import call_parallel

DAY_S, HOUR_S = 86_400, 3_600
# Of the machines that fit, those are taken that cost at most so many times what the cheapest does: a larger sibling is often
# free when the smallest is not, and a much dearer one would be a surprise.
SPREAD = 1.5


def list_offers(account: Account, instance_types: Sequence[str] = (), *, refresh: bool = False) -> list[Offer]:
    """Return every offer of GPU machines in the region, or those of the instance types named, cheapest first."""
    words = "-".join(sorted(instance_types)) or "gpus"
    names = instance_types or catalogue.GPU_FAMILIES

    def read_types() -> Any:
        return keep(account, f"types-{words}", DAY_S, lambda: catalogue.read_catalogue(account, names), refresh=refresh)

    def read_prices() -> Any:
        return keep(
            account, f"prices-{words}", HOUR_S, lambda: prices.find_on_demand(account, instance_types), refresh=refresh
        )

    def read_spot() -> Any:
        return keep(account, f"spot-{words}", HOUR_S, lambda: prices.find_spot(account, names), refresh=refresh)

    types, on_demand, spot = call_parallel(read_types, read_prices, read_spot)
    assert isinstance(types, list) and isinstance(on_demand, dict) and isinstance(spot, dict)  # noqa: S101
    offers = [offer for info in types for offer in make_offers(account.region, info, on_demand, spot)]
    return sorted(offers, key=lambda offer: (offer.price_usd, offer.instance_type, offer.market))


def find_disk_price(account: Account) -> float:
    """Return the price of a gp3 disk in USD per GiB and month, at most an hour old."""
    return float(keep(account, "disk", HOUR_S, lambda: prices.find_disk(account)))


def make_offers(
    region: str, info: Info, on_demand: dict[str, float], spot: dict[str, dict[str, float]]
) -> Iterable[Offer]:
    """Yield the offers of one instance type: one for each market that has it and tells its price."""
    name, zones = info["instance_type"], info["zones"]
    by_market: dict[Market, dict[str, float]] = {
        "on-demand": dict.fromkeys(zones, on_demand[name]) if name in on_demand else {},
        "spot": {zone: price for zone, price in spot.get(name, {}).items() if zone in zones},
    }
    gpu, _, count = info["gpu"].partition(":")
    facts = {key: info[key] for key in ("gpu_memory_gib", "vcpus", "memory_gib", "nvme_gb", "network")}
    for market, found in by_market.items():
        if found and market in info["markets"]:
            yield Offer(name, region, market, found, Gpu(gpu, int(count or 1)) if gpu else None, **facts)


def choose(offers: Sequence[Offer], wishes: Wishes, region: str) -> list[Offer]:
    """Return the offers of one market to take whichever is free of, cheapest first.

    Raises NotFoundError, with what exists, where none fits.
    """
    fitting = [offer for offer in match(offers, wishes, region) if offer.market in wishes.markets]
    if wishes.zones:
        fitting = [narrow(offer, wishes.zones) for offer in fitting if set(wishes.zones) & set(offer.prices)]
    if not fitting:
        where = ", ".join(wishes.zones) or region
        raise NotFoundError(
            f"no {' or '.join(wishes.markets)} offer fits in {where}", "gpujob offers shows what there is"
        )
    taken = []
    for market in wishes.markets:
        of_market = [offer for offer in fitting if offer.market == market]
        most = SPREAD * min((offer.price_usd for offer in of_market), default=0)
        # Types that were named are taken whatever they cost: they are what was asked for.
        taken += [offer for offer in of_market if wishes.instance_types or offer.price_usd <= most]
    return taken


def narrow(offer: Offer, zones: Sequence[str]) -> Offer:
    """Return the offer in these zones alone."""
    return replace(offer, prices={zone: price for zone, price in offer.prices.items() if zone in zones})


def match(offers: Sequence[Offer], wishes: Wishes, region: str) -> list[Offer]:
    """Return the offers that have the GPU, or the GPU memory, that is wished for."""
    if not offers:
        raise CloudError(f"AWS tells no price for {', '.join(wishes.instance_types) or 'GPU machines'} in {region}",
                         "try another --region")  # fmt: skip
    if wishes.instance_types:
        return list(offers)
    found = match_gpu(offers, wishes.gpu, region) if wishes.gpu else [o for o in offers if o.gpu and o.gpu.count == 1]
    if not wishes.gpu_memory_gb:
        return found
    enough = [offer for offer in found if memory_gb(offer) >= wishes.gpu_memory_gb]
    if not enough:
        most = max(map(memory_gb, found), default=0)
        raise NotFoundError(
            f"no {wishes.gpu or 'GPU'} in {region} has {wishes.gpu_memory_gb:g} GB of memory; the largest has {most}",
            f"gpujob offers --region {region}",
        )
    return enough


def memory_gb(offer: Offer) -> int:
    """Return the memory of one of its GPUs in GB, rounded as it is sold."""
    return round(offer.gpu_memory_gib * 2**30 / 1e9 / offer.gpu.count) if offer.gpu else 0


def match_gpu(offers: Sequence[Offer], gpu: Gpu, region: str) -> list[Offer]:
    """Return the offers with exactly this GPU, a count of 0 standing for any; raises NotFoundError with what there is."""
    found = {(offer.gpu.name, offer.gpu.count) for offer in offers if offer.gpu}
    names = sorted({name for name, _ in found})
    name = next((name for name in names if name.lower() == gpu.name.lower()), None)
    if name is None:
        near = difflib.get_close_matches(gpu.name.upper(), names, 1)
        raise NotFoundError(
            f"no GPU '{gpu.name}' in {region}; there are: {', '.join(names)}",
            f"gpujob up --gpu {near[0] if near else 'T4'}",
        )
    if not gpu.count:
        return [offer for offer in offers if offer.gpu and offer.gpu.name == name]
    counts = sorted(count for found_name, count in found if found_name == name)
    if gpu.count not in counts:
        raise NotFoundError(
            f"no machine with {gpu.count} x {name} in {region}; there are machines with {', '.join(map(str, counts))}",
            f"gpujob up --gpu {name}:{counts[0]}",
        )
    return [offer for offer in offers if offer.gpu == Gpu(name, gpu.count)]
