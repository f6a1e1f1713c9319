"""Offer a short list of GPUs at a terminal if none was asked for."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.options.values import parse_gpu
from cli.terminal import progress, show
from infra.base.money import format_rate
from infra.ec2.market.similar import SOLD_GB
from infra.launch.catalogue import Row, list_rows
from infra.ledger.attempts import read_attempt
from infra.model import Gpu

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.model import LaunchRequest

OFFERED = ("T4", "L4", "A10G", "L40S", "H100")
"""One for each purpose that a price sets apart; gpujob offers lists all."""


def can_ask(name: str) -> bool:
    """Return whether the terminal can be asked, and no interrupted launch of this name has a GPU."""
    return sys.stdin.isatty() and sys.stderr.isatty() and read_attempt(name) is None


def ask_gpu(account: "Account", request: "LaunchRequest") -> Gpu:
    """Return the GPU chosen from a list, by default the one of the request."""
    default = request.gpu or Gpu("T4")
    with progress.steps() as report:
        report("asking AWS")
        rows = choose_rows(list_rows(account, request.regions, None, 0, None), request)
    if len(rows) < 2:
        return default
    show.facts({f"{number}  {row.gpu}": describe(row, request, default) for number, row in enumerate(rows, 1)})
    show.say("  All: gpujob offers")

    def parse(text: str) -> Gpu:
        if text.strip().isdecimal():
            if not 1 <= int(text) <= len(rows):
                raise click.BadParameter(f"choose from 1 to {len(rows)}, or type a GPU")
            return rows[int(text) - 1].gpu
        return parse_gpu(text)

    shown = next((number for number, row in enumerate(rows, 1) if row.gpu == default), str(default))
    chosen: Gpu = click.prompt("Which GPU?", default=str(shown), value_proc=parse, err=True)
    return chosen


def choose_rows(rows: Sequence[Row], request: "LaunchRequest") -> list[Row]:
    """Return the cheapest machine with each offered GPU, in the launch's market and zones."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.price_in(request.markets) or 0):
        inside = not request.zones or set(row.zones) & set(request.zones)
        if row.gpu.name in OFFERED and inside and row.price_in(request.markets) is not None:
            found.setdefault(row.gpu.name, row)
    return sorted(found.values(), key=lambda row: OFFERED.index(row.gpu.name))


def describe(row: Row, request: "LaunchRequest", default: Gpu) -> str:
    """Return a machine's memory per GPU, its price, and what speaks for or against it."""
    memory_gb = SOLD_GB.get(row.gpu.name) or round(row.gpu_memory_gib / row.gpu.count)
    price = row.price_in(request.markets) or 0
    short = row.left_vcpus is not None and row.left_vcpus < row.vcpus * request.nodes and "spot" not in request.markets
    notes = "  (default)" * (row.gpu == default) + "  (above your quota)" * short
    return f"{memory_gb:>3} GB  {format_rate(price):>8}  {row.instance_type}{notes}"
