"""Where the values of options come from: what is nearer to the person goes first, and equals must agree."""

from typing import TYPE_CHECKING, Any

import click

from infra.errors import UsageError

if TYPE_CHECKING:
    from infra.model import Market

MARKETS: dict[str, tuple["Market", ...]] = {
    "on_demand": ("on-demand",),
    "spot": ("spot",),
    "spot_first": ("spot", "on-demand"),
}


def choose_markets(context: click.Context, flags: dict[str, bool]) -> "tuple[Market, ...]":
    """Return the markets in the order in which they are tried; raises UsageError for flags that contradict each other."""
    chosen = [name for name, given in flags.items() if given]
    most = max((strength(context, name) for name in chosen), default=0)
    chosen = [name for name in chosen if strength(context, name) == most] or ["on_demand"]
    if len(chosen) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in chosen[:2])
        raise UsageError(f"{first} and {second} contradict each other", "choose one of them")
    return MARKETS[chosen[0]]


def prefer_stronger(context: click.Context, asked: dict[str, Any], *sides: tuple[str, ...]) -> None:
    """Leave out what a file or a variable says where something stronger, such as what was typed, says it otherwise."""
    given = {side: max((strength(context, name) for name in side if asked[name]), default=0) for side in sides}
    for side in (one for one in sides if 0 < given[one] < max(given.values())):
        for name in side:
            asked[name] = type(asked[name])() if isinstance(asked[name], tuple) else None


def strength(context: click.Context, name: str) -> int:
    """Return how near to the person a parameter's value was given: typed, in a variable, in gpujob.toml, nowhere."""
    sources = click.core.ParameterSource
    order = (sources.DEFAULT, sources.DEFAULT_MAP, sources.ENVIRONMENT, sources.COMMANDLINE)
    source = context.get_parameter_source(name)
    return order.index(source) if source in order else 0
