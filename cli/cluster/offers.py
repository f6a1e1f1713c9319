"""List instance types and prices: offers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import click

from cli.options.declared import dry_run_option, json_option, option, regions_option
from cli.options.retype import suggests
from cli.options.sources import MARKETS
from cli.options.values import parse_any_gpu, parse_memory, parse_usd
from cli.terminal import progress, show
from infra.cluster import clouds
from infra.launch import catalogue
from infra.model import Gpu


@click.command()
@option("--gpu", type=parse_any_gpu, metavar="NAME[:COUNT]", help="Only this GPU model; with COUNT, exactly that many.")
@option("--gpu-memory", type=parse_memory, metavar="GB", help="Minimum memory per GPU, in GB.")
@option("--max-price", type=parse_usd, metavar="USD", help="Maximum price per hour, on-demand or spot.")
@regions_option
@option(
    "--sort",
    envvar=None,
    type=click.Choice(["price", "on-demand", "spot", "per-gpu", "memory"]),
    default="price",
    show_default=True,
    help="price: in the market that a launch would use; per-gpu: that price per GPU; memory: of all GPUs, largest first.",
)
@option("--refresh", is_flag=True, help="Ignore cached data (instance types: 1 day, prices: 1 hour).")
@dry_run_option
@json_option
@click.pass_context
@suggests
def offers(
    context: click.Context,
    /,
    gpu: Gpu | None,
    gpu_memory: float | None,
    max_price: float | None,
    regions: tuple[str, ...],
    sort: str,
    refresh: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List GPU instance types and prices, cheapest first.

    "per GPU" is the price per hour and GPU in the market that a launch would use: on-demand, unless gpujob.toml says spot.
    """
    with progress.steps() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = clouds.open_account(dry_run, regions)
        rows = catalogue.list_rows(account, regions, gpu, gpu_memory or 0, max_price, refresh=refresh)
    markets = find_markets(context)
    rows = sort_rows(rows, sort, markets)
    if dry_run and not as_json:
        show.say("dry run: the prices are examples")
    droppable = ("network", "NVMe GB", "saving", "vCPU left", "RAM GiB", "region", "GPU GiB total", "vCPU")
    facts = [offer_facts(row, markets) for row in rows]
    show.listing([offer_row(row, markets) for row in rows], as_json, facts, "no instance type matches", droppable)


def find_markets(context: click.Context) -> tuple[str, ...]:
    """Return the markets that `up` would try in this project, in order."""
    defaults = ((context.parent and context.parent.default_map) or {}).get("up", {})
    first = next((name for name in MARKETS if defaults.get(name)), "on_demand")
    return MARKETS[first]


def sort_rows(rows: Sequence[catalogue.Row], sort: str, markets: Sequence[str]) -> list[catalogue.Row]:
    """Return the rows in an order; machines without the price in question are last."""

    def by_price(wanted: Sequence[str], per_gpu: bool = False) -> Callable[[catalogue.Row], float]:
        def key(row: catalogue.Row) -> float:
            price = row.price_in(wanted)
            return math.inf if price is None else price / (row.gpu.count if per_gpu else 1)

        return key

    keys = {"price": by_price(markets), "per-gpu": by_price(markets, per_gpu=True)}
    if sort == "memory":
        return sorted(rows, key=lambda row: -row.gpu_memory_gib)
    return sorted(rows, key=keys.get(sort) or by_price([sort]))


def offer_facts(row: catalogue.Row, markets: Sequence[str]) -> dict[str, object]:
    """Return an instance type for --json."""
    own, count = row.price_in(markets), row.gpu.count
    return {
        **asdict(row),
        "gpu_memory_gib_each": row.gpu_memory_gib / count,
        "usd_per_gpu": own and own / count,
        "saving": saving_of(row),
    }


def saving_of(row: catalogue.Row) -> float | None:
    """Return the part of the on-demand price that the spot market saves; None without both prices."""
    return 1 - row.spot_usd / row.on_demand_usd if row.spot_usd and row.on_demand_usd else None


def offer_row(row: catalogue.Row, markets: Sequence[str]) -> dict[str, str]:
    """Return an instance type as a row of a listing."""

    def price(amount: float | None) -> str:
        return "" if amount is None else f"{amount:.3f}"

    own = row.price_in(markets)
    saving = saving_of(row)
    return {
        "machine": row.instance_type,
        "region": row.region,
        "GPU": row.gpu.name,
        "count": str(row.gpu.count),
        "GPU GiB each": f"{row.gpu_memory_gib / row.gpu.count:.0f}",
        "GPU GiB total": f"{row.gpu_memory_gib:.0f}",
        "vCPU": str(row.vcpus),
        "RAM GiB": f"{row.memory_gib:.0f}",
        "NVMe GB": f"{row.nvme_gb:.0f}" if row.nvme_gb else "",
        "network": row.network.replace(" Gigabit", "G"),
        "$/h": price(row.on_demand_usd),
        "spot $/h": price(row.spot_usd),
        "per GPU": price(own and own / row.gpu.count),
        "saving": "" if saving is None else f"{saving:.0%}",
        "vCPU left": "" if row.left_vcpus is None else str(row.left_vcpus),
    }
