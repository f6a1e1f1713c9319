"""Past spot prices: asked for once, kept, and never guessed."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from infra.ec2.account import Account
from infra.ec2.machines.lease import hourly_usd, spent_usd
from infra.ec2.market.history import add_spot_prices
from infra.ec2.market.prices import find_spot
from infra.model import Cluster, Node

NOW = 1_790_000_000.0
HOUR_S = 3600
LAUNCHED = NOW - 4 * HOUR_S
NODE = Node("i-1", "running", "h", 22, "g5.xlarge", "us-east-1a", "spot", price_usd=1.0)
CLUSTER = Cluster("c", "aws", "us-east-1", (NODE,), None, 1.0, NOW + HOUR_S, LAUNCHED, "o")
CHANGES = {"us-east-1a": [(LAUNCHED - 9000, 0.2), (LAUNCHED - 600, 0.3), (NOW - 2 * HOUR_S, 0.5)]}
ADDRESS_USD = 0.005


class Ec2:
    """EC2's price history, latest first; it notes what it was asked."""

    def __init__(self, changes: dict[str, list[tuple[float, float]]], denied: bool = False) -> None:
        self.changes, self.denied, self.asked = changes, denied, list[dict[str, Any]]()

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=self.pages)

    def pages(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if self.denied:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "DescribeSpotPriceHistory")
        rows = []
        for zone, changes in self.changes.items():
            before = [one for one in changes if one[0] <= asked["StartTime"].timestamp()]
            rows += [
                {"InstanceType": "g5.xlarge", "AvailabilityZone": zone, "SpotPrice": str(price)}
                | {"Timestamp": datetime.fromtimestamp(at, UTC)}
                for at, price in (*before[-1:], *changes[len(before) :])
            ]
        yield from ({"SpotPriceHistory": [row]} for row in sorted(rows, key=lambda row: row["Timestamp"])[::-1])


@pytest.fixture(autouse=True)
def laptop(tmp_path, monkeypatch):
    """A computer that knows no prices yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: NOW)


def account(ec2: Ec2) -> Account:
    identity = SimpleNamespace(account_id="1")
    return cast(Account, SimpleNamespace(cloud="aws", region="us-east-1", identity=identity, ec2=ec2))


def test_a_spot_machine_costs_each_price_for_as_long_as_it_applied():
    [priced] = add_spot_prices(account(Ec2(CHANGES)), [CLUSTER])
    assert [price for _, price in priced.node.spot_prices] == [0.3, 0.5], "from the last change before its launch"
    assert spent_usd(priced, NOW) == pytest.approx(2 * 0.3 + 2 * 0.5 + 4 * ADDRESS_USD)
    assert hourly_usd(priced) == pytest.approx(0.505)
    assert not priced.is_at_most


def test_without_permission_or_prices_it_costs_the_most_that_it_can():
    for ec2 in (Ec2(CHANGES, denied=True), Ec2({})):
        [priced] = add_spot_prices(account(ec2), [CLUSTER])
        assert spent_usd(priced, NOW) == pytest.approx(4 * 1.0 + 4 * ADDRESS_USD)
        assert priced.is_at_most


def test_what_was_before_the_first_known_price_counts_as_the_most_too():
    [priced] = add_spot_prices(account(Ec2({"us-east-1a": [(NOW - HOUR_S, 0.5)]})), [CLUSTER])
    assert spent_usd(priced, NOW) == pytest.approx(3 * 1.0 + 0.5 + 4 * ADDRESS_USD)
    assert priced.is_at_most


def test_the_past_is_asked_for_once_and_then_only_what_is_new(monkeypatch):
    ec2 = Ec2({**CHANGES, "us-east-1b": [(LAUNCHED - 900, 0.4)]})
    other = replace(CLUSTER, name="d", nodes=(replace(NODE, zone="us-east-1b"),), launched_at=NOW - HOUR_S)
    first = add_spot_prices(account(ec2), [CLUSTER, other])
    assert len(ec2.asked) == 1, "all pools of a region with one call"
    assert add_spot_prices(account(ec2), [CLUSTER, other]) == first
    assert len(ec2.asked) == 1
    monkeypatch.setattr(time, "time", lambda: NOW + HOUR_S)
    ec2.changes["us-east-1a"] = [*CHANGES["us-east-1a"], (NOW + 60, 0.9)]
    [later] = add_spot_prices(account(ec2), [CLUSTER])
    assert ec2.asked[1]["StartTime"] == datetime.fromtimestamp(NOW, UTC)
    assert [price for _, price in later.node.spot_prices] == [0.3, 0.5, 0.9]
    assert spent_usd(later, NOW + HOUR_S) == pytest.approx(1.6 + 0.5 / 60 + 0.9 * 59 / 60 + 5 * ADDRESS_USD)


def test_prices_that_ec2_has_forgotten_stay_known_and_a_gap_in_them_is_not_filled(monkeypatch):
    ec2 = Ec2(CHANGES)
    add_spot_prices(account(ec2), [CLUSTER])
    for days in (60, 120):
        monkeypatch.setattr(time, "time", lambda days=days: NOW + days * 86_400)
        [priced] = add_spot_prices(account(ec2), [CLUSTER])
        assert [price for _, price in priced.node.spot_prices] == [0.3, 0.5]
    ec2.changes = {"us-east-1a": [(NOW + 400 * 86_400, 0.1)]}
    monkeypatch.setattr(time, "time", lambda: NOW + 401 * 86_400)
    assert add_spot_prices(account(ec2), [CLUSTER])[0].is_at_most


def test_without_spot_machines_nothing_is_asked():
    on_demand = replace(CLUSTER, nodes=(replace(NODE, market="on-demand"),))
    assert add_spot_prices(cast(Account, None), [on_demand]) == (on_demand,)


def test_the_current_price_is_the_latest_in_whatever_order_they_come():
    found = find_spot(account(Ec2({"us-east-1a": [(NOW - 60, 0.3), (NOW + 1, 0.4)]})), ["g5.xlarge"])
    assert found == {"g5.xlarge": {"us-east-1a": 0.4}}
