"""Costs of the machines that a group has ended, from what AWS says that the group did."""

import time
from contextlib import suppress

from infra.ec2.account import Account
from infra.ec2.scaling.activities import find_lives
from infra.ec2.scaling.groups import Group, find_groups
from infra.errors import PermissionsError
from infra.ledger.costs import note_file, read, record, span_of
from infra.model import Cluster, Node


def record_replaced(account: Account, cluster: str = "*") -> None:
    """Record the cost of each machine that the groups of a cluster, or of all, have ended.

    Nothing is recorded where the caller may not list groups. Raises CloudError.
    """
    with suppress(PermissionsError):
        for group in find_groups(account, cluster):
            if account.identity.is_owner(group.owner):
                record_members(account, group)


def record_members(account: Account, group: Group) -> None:
    """Record the cost of each machine that a group has ended, at its dearest type's price.

    What was recorded without knowing the end is replaced.
    """
    for machine, (begun, ended) in find_lives(account, group.name).items():
        node = Node(machine, "running", "", 22, "", "", market=group.market, price_usd=group.hour_usd)
        alone = Cluster(
            name=group.cluster,
            cloud=account.cloud,
            region=account.region,
            nodes=(node,),
            gpu=group.gpu,
            price_usd=group.hour_usd,
            lease_until=group.lease_until,
            launched_at=begun,
            owner=group.owner,
            private=group.private,
        )
        noted = read(note_file(alone))
        if not noted or noted.get("missed"):
            span = span_of(alone, ended or time.time())
            record(alone, span if ended else {**span, "missed": True})
