"""Precedence of option sources: command line, variable, gpujob.toml; equal ones must agree."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from infra import names
from infra.errors import UsageError
from infra.model import LaunchRequest, NetworkRequest

if TYPE_CHECKING:
    from infra.model import Market

MARKETS: dict[str, tuple["Market", ...]] = {
    "on_demand": ("on-demand",),
    "spot": ("spot",),
    "spot_first": ("spot", "on-demand"),
}


def choose_markets(context: click.Context, asked: Mapping[str, object]) -> "tuple[Market, ...]":
    """Return the markets in the order to try; raises UsageError for conflicting flags."""
    chosen = [name for name in MARKETS if asked[name]]
    most = max((strength(context, name) for name in chosen), default=0)
    chosen = [name for name in chosen if strength(context, name) == most] or ["on_demand"]
    if len(chosen) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in chosen[:2])
        raise UsageError(f"{first} cannot be used with {second}", "use one of them")
    return MARKETS[chosen[0]]


def find_overruled(context: click.Context, asked: Mapping[str, object], *sides: tuple[str, ...]) -> set[str]:
    """Return the options that are overridden by another side with higher precedence."""
    given = {side: max((strength(context, name) for name in side if asked[name]), default=0) for side in sides}
    return {name for side in sides if given[side] < max(given.values()) for name in side}


def strength(context: click.Context, name: str) -> int:
    """Return a value's precedence: 3 command line, 2 variable, 1 gpujob.toml, 0 default."""
    sources = click.core.ParameterSource
    order = (sources.DEFAULT, sources.DEFAULT_MAP, sources.ENVIRONMENT, sources.COMMANDLINE)
    source = context.get_parameter_source(name)
    return order.index(source) if source in order else 0


def read_chosen(context: click.Context) -> LaunchRequest:
    """Return what variables and gpujob.toml say that `up` uses: network, image, role, key, reservation."""
    root = context.find_root()
    up = root.command.get_command(root, "up") if isinstance(root.command, click.Group) else None
    if up is None:
        raise AssertionError("no command up")
    with up.make_context("up", [], parent=root) as planned:
        said = planned.params
    network = NetworkRequest(said["subnets"], said["security_groups"], said["private"])
    return LaunchRequest(
        image=said["image"],
        network=network,
        instance_profile=names.choose_profile(said["instance_profile"], said["bucket"]),
        bucket=said["bucket"] or "",
        kms_key=said["kms_key"] or "",
        reservation=said["reservation"] or "",
    )
