"""Available machines as a table: one row per instance type and region, with both markets."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.base.parallel import call_parallel, map_parallel
from infra.ec2.account import Account
from infra.ec2.market import offers, quotas
from infra.errors import NotFoundError
from infra.model import Gpu, LaunchRequest, Market, Offer

FAMILIES: tuple[tuple[Market, str], ...] = (("on-demand", "G and VT"), ("on-demand", "P"))


@dataclass(frozen=True)
class Row:
    """A machine in a region and its price in each market, None if unavailable."""

    instance_type: str
    region: str
    gpu: Gpu
    gpu_memory_gib: float
    vcpus: int
    memory_gib: float
    nvme_gb: float
    network: str
    zones: tuple[str, ...]
    on_demand_usd: float | None
    spot_usd: float | None
    """In the cheapest zone."""
    left_vcpus: int | None
    """Unused vCPUs of the account's on-demand quota; None if the quota is unknown."""

    def price_in(self, markets: Sequence[str]) -> float | None:
        """Return its price in the first of these markets that has it."""
        prices = {"on-demand": self.on_demand_usd, "spot": self.spot_usd}
        return next((price for market in markets if (price := prices[market]) is not None), None)


def list_rows(
    account: Account,
    regions: Sequence[str],
    gpu: Gpu | None,
    gpu_memory_gb: float,
    max_usd: float | None,
    *,
    refresh: bool = False,
) -> list[Row]:
    """Return the GPU machines of these regions, cheapest first.

    Raises NotFoundError, with alternatives, if no region has the requested GPU.
    """
    accounts = [account.in_region(region) for region in regions] or [account]
    assert account.identity  # noqa: S101  cached before the regions use it in parallel
    found = map_parallel(lambda one: list_region(one, gpu, gpu_memory_gb, refresh), accounts)
    errors = [result for result in found if isinstance(result, NotFoundError)]
    if len(errors) == len(found):
        raise errors[0]
    rows = [row for result in found if isinstance(result, list) for row in result]
    return sorted((row for row in rows if max_usd is None or cheapest(row) <= max_usd), key=cheapest)


def cheapest(row: Row) -> float:
    """Return the lowest price of a machine."""
    return min(price for price in (row.on_demand_usd, row.spot_usd) if price is not None)


def list_region(account: Account, gpu: Gpu | None, gpu_memory_gb: float, refresh: bool) -> list[Row] | NotFoundError:
    """Return a region's machines, or the error that none matches."""
    all_offers, used, limits = call_parallel(
        lambda: offers.list_offers(account, refresh=refresh),
        lambda: quotas.count_used(account, FAMILIES),
        lambda: map_parallel(lambda key: quotas.find_quota(account, *key), FAMILIES),
    )
    left = {quota.family: quota.vcpus - used[quota.market, quota.family] for quota in limits if quota}
    request = LaunchRequest(gpu=gpu, gpu_memory_gb=gpu_memory_gb)
    try:
        fitting = offers.match(all_offers, request, account.region) if gpu or gpu_memory_gb else all_offers
    except NotFoundError as error:
        return error
    by_type: dict[str, list[Offer]] = {}
    for offer in fitting:
        by_type.setdefault(offer.instance_type, []).append(offer)
    return [make_row(markets, left) for markets in by_type.values()]


def make_row(markets: Sequence[Offer], left: dict[str, int]) -> Row:
    """Return the row of a machine from its offers in one or both markets."""
    prices = {offer.market: offer.price_usd for offer in markets}
    one = markets[0]
    assert one.gpu is not None  # noqa: S101  all listed machines have GPUs
    return Row(
        one.instance_type,
        one.region,
        one.gpu,
        one.gpu_memory_gib,
        one.vcpus,
        one.memory_gib,
        one.nvme_gb,
        one.network,
        tuple(sorted({zone for offer in markets for zone in offer.prices})),
        prices.get("on-demand"),
        prices.get("spot"),
        left.get(quotas.family_of(one.instance_type, "on-demand")),
    )
