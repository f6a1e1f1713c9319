"""Asking for machines until each pool has answered, against fleets that answer as EC2's do."""

from typing import Any

import pytest

from infra import errors
from infra.ec2.account import Account
from infra.ec2.capacity import search
from infra.ec2.capacity.requests import Pool, make_request
from infra.ec2.tags import LAUNCH_TAG

POOLS = [Pool(kind, f"subnet-{zone}") for kind in ("g4dn.xlarge", "g4dn.2xlarge") for zone in "abcdef"]
FULL, UNKNOWN = "InsufficientInstanceCapacity", "UnfulfillableCapacity"


class Fleets:
    """EC2's fleets: pools with a code of their own, except those with machines; `tried` of them for one request."""

    region = "us-east-1"

    def __init__(self, codes: dict[Pool, str], tried: int = 3, *, blind: bool = False, silent: bool = False) -> None:
        self.codes, self.tried, self.blind, self.silent = codes, tried, blind, silent
        self.asked: list[list[Pool]] = []
        self.tokens: list[str] = []

    @property
    def ec2(self) -> "Fleets":
        return self

    def create_fleet(self, **request: Any) -> dict[str, Any]:
        [config] = request["LaunchTemplateConfigs"]
        asked = [Pool(one["InstanceType"], one["SubnetId"]) for one in config["Overrides"]]
        assert request["ClientToken"] not in self.tokens
        self.tokens.append(request["ClientToken"])
        self.asked.append(asked)
        if any(pool not in self.codes for pool in asked[: self.tried]):
            return {"Instances": [{"InstanceIds": ["i-1"]}], "Errors": []}
        hidden = self.blind and len(asked) > self.tried
        refused = [(pool, UNKNOWN if hidden else self.codes[pool]) for pool in asked[: self.tried]]
        rest = [] if self.silent else [(pool, UNKNOWN) for pool in asked[self.tried :]]
        return {"Instances": [], "Errors": [refuse(*each) for each in refused + rest]}


def refuse(pool: Pool, code: str) -> dict[str, Any]:
    overrides = {"InstanceType": pool.instance_type, "SubnetId": pool.subnet}
    return {
        "ErrorCode": code,
        "ErrorMessage": f"said EC2 of {code}",
        "LaunchTemplateAndOverrides": {"Overrides": overrides},
    }


def find(fleets: Fleets, pools: list[Pool] = POOLS) -> list[str]:
    account: Account = fleets  # type: ignore[assignment]
    recorded: list[str] = []

    def record(request: dict[str, Any]) -> None:
        recorded.append(request["ClientToken"])
        assert recorded[:-1] == fleets.tokens  # before it is sent

    request = make_request("lt-1", "on-demand", 1, {LAUNCH_TAG: "token"})
    return search.find(account, request, pools, record, lambda _: None)


@pytest.mark.parametrize(
    "ways", [{}, {"silent": True}, {"blind": True}, {"blind": True, "silent": True}, {"tried": 12}]
)
def test_the_last_of_twelve_pools_is_found_in_five_requests_whatever_the_answers_leave_out(ways):
    fleets = Fleets(dict.fromkeys(POOLS[:-1], FULL), **ways)
    assert find(fleets) == ["i-1"]
    assert len(fleets.asked) <= 5


@pytest.mark.parametrize("ways", [{}, {"silent": True}, {"blind": True, "silent": True}])
def test_every_pool_is_tried_before_capacity_is_said_to_be_missing(ways):
    fleets = Fleets(dict.fromkeys(POOLS, FULL), **ways)
    with pytest.raises(errors.CapacityError, match=FULL):
        find(fleets)
    assert {pool for asked in fleets.asked for pool in asked[:3]} == set(POOLS)


def test_a_quota_of_one_size_does_not_end_the_search_but_is_what_is_told_at_its_end():
    over = dict.fromkeys(POOLS[6:], "VcpuLimitExceeded")
    assert find(Fleets(dict.fromkeys(POOLS[1:5], FULL) | over)) == ["i-1"]
    with pytest.raises(errors.QuotaError):
        find(Fleets(dict.fromkeys(POOLS[:6], FULL) | over))


def test_an_error_that_every_pool_would_answer_ends_the_search_at_once():
    fleets = Fleets(dict.fromkeys(POOLS, "UnauthorizedOperation"))
    with pytest.raises(errors.PermissionsError):
        find(fleets)
    assert len(fleets.asked) == 1


def test_a_zone_without_the_type_counts_only_if_every_zone_is():
    lacking = dict.fromkeys(POOLS[:6], "InvalidFleetConfiguration")
    with pytest.raises(errors.CapacityError, match=FULL) as caught:
        find(Fleets(lacking | dict.fromkeys(POOLS[6:], FULL)))
    assert not isinstance(caught.value, errors.PlaceError)
    with pytest.raises(errors.PlaceError):
        find(Fleets(lacking), POOLS[:6])
