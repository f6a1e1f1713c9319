"""Distinguish AWS from the local cloud in output: only AWS bills."""

from collections.abc import Iterable
from typing import Protocol

from cli.terminal.formats import at_most
from infra.base.money import format_usd


class InCloud(Protocol):
    """Anything in a region of a cloud: a cluster, an image, an account."""

    @property
    def cloud(self) -> str:
        """The cloud's name."""

    @property
    def region(self) -> str:
        """The region's name."""


def is_local(cloud: str) -> bool:
    """Return whether a cloud is the local one, which bills nothing."""
    return cloud == "local"


def are_local(things: Iterable[InCloud]) -> bool:
    """Return whether all of these are on the local cloud, so no confirmation is needed."""
    return all(is_local(thing.cloud) for thing in things)


def place(thing: InCloud) -> str:
    """Return where something is: us-east-1, or local us-east-1."""
    return f"local {thing.region}" if is_local(thing.cloud) else thing.region


def most(amount_usd: float, cloud: str) -> str:
    """Return the maximum cost of something: $5.00, or $5.00 on AWS."""
    return format_usd(amount_usd) + " on AWS" * is_local(cloud)


def cost(amount_usd: float, cloud: str, *, unsure: bool = False) -> str:
    """Return what something cost, or at most: cost $5.00, or would have cost $5.00 on AWS."""
    amount = at_most(format_usd(amount_usd), unsure)
    return f"would have cost {amount} on AWS" if is_local(cloud) else f"cost {amount}"
