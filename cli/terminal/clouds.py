"""How the two clouds are told apart on the screen: AWS bills, the local cloud of a dry run does not."""

from collections.abc import Iterable
from typing import Protocol

from cli.terminal import formats


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
    """Return whether all of these are on the local cloud, so that no question about money is needed."""
    return all(is_local(thing.cloud) for thing in things)


def place(thing: InCloud) -> str:
    """Return where something is: us-east-1, or local us-east-1."""
    return f"local {thing.region}" if is_local(thing.cloud) else thing.region


def most(amount_usd: float, cloud: str) -> str:
    """Return the most that something may cost: 5.00 USD, or 5.00 USD on AWS."""
    return formats.usd(amount_usd) + " on AWS" * is_local(cloud)


def cost(amount_usd: float, cloud: str) -> str:
    """Return what something cost: cost 5.00 USD, or would have cost 5.00 USD on AWS."""
    amount = formats.usd(amount_usd)
    return f"would have cost {amount} on AWS" if is_local(cloud) else f"cost {amount}"
