"""List instance types and prices: offers."""

from dataclasses import asdict

import click

from cli.options.declared import dry_run_option, json_option, option, regions_option
from cli.options.retype import suggests
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
@option("--refresh", is_flag=True, help="Ignore cached data (instance types: 1 day, prices: 1 hour).")
@dry_run_option
@json_option
@suggests
def offers(
    gpu: Gpu | None,
    gpu_memory: float | None,
    max_price: float | None,
    regions: tuple[str, ...],
    refresh: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List GPU instance types and prices, cheapest first."""
    with progress.steps() as report:
        report("asking the local cloud" if dry_run else "asking AWS")
        account = clouds.open_account(dry_run, regions)
        rows = catalogue.list_rows(account, regions, gpu, gpu_memory or 0, max_price, refresh=refresh)
    if dry_run and not as_json:
        show.say("dry run: the prices are examples")
    droppable = ("network", "NVMe GB", "saving", "vCPU left", "GiB", "region")
    facts = [asdict(row) for row in rows]
    show.listing([offer_row(row) for row in rows], as_json, facts, "no instance type matches", droppable)


def offer_row(row: catalogue.Row) -> dict[str, str]:
    """Return an instance type as a row of a listing."""

    def price(amount: float | None) -> str:
        return "" if amount is None else f"{amount:.3f}"

    saving = f"{1 - row.spot_usd / row.on_demand_usd:.0%}" if row.spot_usd and row.on_demand_usd else ""
    return {
        "machine": row.instance_type,
        "region": row.region,
        "GPU": row.gpu.name,
        "count": str(row.gpu.count),
        "GPU GiB": f"{row.gpu_memory_gib:.0f}",
        "vCPU": str(row.vcpus),
        "GiB": f"{row.memory_gib:.0f}",
        "NVMe GB": f"{row.nvme_gb:.0f}" if row.nvme_gb else "",
        "network": row.network.replace(" Gigabit", "G"),
        "$/h": price(row.on_demand_usd),
        "spot $/h": price(row.spot_usd),
        "saving": saving,
        "vCPU left": "" if row.left_vcpus is None else str(row.left_vcpus),
    }
