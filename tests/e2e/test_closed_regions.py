"""What one part of the account refuses hinders nothing elsewhere, and is named; a role without a session name finds its own."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from infra.cluster import regions
from infra.cluster.orphans import find_orphans
from infra.ec2.account import open_local
from infra.ec2.tags import CLUSTER_TAG, OWNER_TAG, tag_specification
from infra.errors import CloudError
from infra.local.cloud.server import control
from tests.cloudwatch import FEW_REGIONS, Watch, keep_alive, watch
from tests.conftest import Laptop

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def cloud(laptop: Laptop) -> Iterator[Watch]:
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    control.add_faults(watch(laptop).cloud, *FEW_REGIONS)
    yield watch(laptop)


def leave_group(laptop: Laptop, region: str, name: str, owner: str) -> None:
    """Leave a security group behind, as an `up` that broke off might."""
    tags = [tag_specification("security-group", {CLUSTER_TAG: name, OWNER_TAG: owner})]
    words = {"GroupName": f"gpujob-{name}", "Description": "left", "TagSpecifications": tags}
    watch(laptop, region).ec2.create_security_group(**words)


def test_a_region_that_is_closed_is_named_and_all_others_are_swept_and_listed(laptop, cloud):
    owner = json.loads(laptop.type("up", "--dry-run", "--plan", "--json").out)["owner"]
    for region in ("eu-west-1", "eu-west-2"):
        leave_group(laptop, region, "lost", owner)
    control.add_faults(cloud.cloud, "closed=eu-west-2", "closed=ap-south-1")
    swept = laptop.type("sweep", "--dry-run", "--yes")
    assert swept.code == 1
    assert "lost" in swept.out
    assert "could not ask eu-west-2: " in swept.err
    assert "service control policy" in swept.err
    assert "deleted orphaned resources of 1 cluster" in swept.err
    assert "not searched: " in swept.err
    assert watch(laptop, "eu-west-1").remains() == []
    for command in ("ls", "cost"):
        listed = laptop.type(command, "--all-regions", "--dry-run")
        assert (listed.code, "could not ask ap-south-1" in listed.err) == (0, True), listed.said
    named = laptop.type("sweep", "--dry-run", "--region", "eu-west-2")
    assert (named.code, "service control policy" in named.err) == (1, True)
    control.clear_faults(cloud.cloud)
    control.add_faults(cloud.cloud, *FEW_REGIONS)
    assert laptop.type("sweep", "--dry-run", "--yes").code == 0
    assert watch(laptop, "eu-west-2").remains() == []


def test_a_home_region_that_is_closed_hides_no_other(laptop, cloud):
    owner = json.loads(laptop.type("up", "--dry-run", "--plan", "--json").out)["owner"]
    leave_group(laptop, "eu-west-1", "lost", owner)
    control.add_faults(cloud.cloud, "closed=us-east-1")
    swept = laptop.type("sweep", "--dry-run", "--yes")
    assert (swept.code, "could not ask us-east-1: " in swept.err) == (1, True), swept.said
    assert "deleted orphaned resources of 1 cluster" in swept.err
    listed = laptop.type("images", "--all-regions", "--dry-run")
    assert (listed.code, "could not ask us-east-1: " in listed.err) == (0, True), listed.said
    control.add_faults(cloud.cloud, *(f"closed={region.removeprefix('enabled=')}" for region in FEW_REGIONS))
    assert laptop.type("ls", "--all-regions", "--dry-run").code == 1  # nobody can tell what is running


def test_a_region_that_does_not_answer_is_named_and_not_waited_for(laptop, cloud, monkeypatch):
    here = open_local(cloud.cloud.url, cloud.cloud.access_key)
    control.add_faults(cloud.cloud, "slow=eu-west-2:600")
    leave_group(laptop, "eu-west-1", "lost", here.identity.arn)
    asked = [here.in_region(name) for name in ("us-east-1", "eu-west-1", "eu-west-2")]
    for limit_s in (5.0, 60.0):  # the others can take more than 5 s on a busy computer
        monkeypatch.setattr(regions, "LOCAL_LIMIT_S", limit_s)
        with suppress(CloudError):
            found, refused = find_orphans(asked)
            if len(refused) == 1:
                break
    assert [orphan.cluster for orphan in found] == ["lost"]
    [(account, error)] = refused.items()
    assert (account.region, error.what) == ("eu-west-2", f"no answer within {limit_s:.0f} s")


def test_a_cluster_in_a_region_that_is_closed_is_not_taken_for_gone(laptop, cloud):
    assert laptop.type("up", "--dry-run", "--region", "eu-west-2").code == 0
    control.add_faults(cloud.cloud, "closed=eu-west-2")
    [listed] = json.loads(laptop.type("ls", "--all-regions", "--json").out)
    assert listed["nodes"][0]["state"] == "unknown"
    control.clear_faults(cloud.cloud)
    control.add_faults(cloud.cloud, *FEW_REGIONS)
    [listed] = json.loads(laptop.type("ls", "--all-regions", "--json").out)
    assert listed["nodes"][0]["state"] == "running"
    assert laptop.type("down").code == 0


def test_one_stray_that_cannot_be_removed_does_not_keep_the_others(laptop, cloud):
    owner = json.loads(laptop.type("up", "--dry-run", "--plan", "--json").out)["owner"]
    leave_group(laptop, "us-east-1", "lost", owner)
    tags = [tag_specification("network-interface", {CLUSTER_TAG: "held", OWNER_TAG: owner})]
    subnet = cloud.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    cloud.ec2.create_network_interface(SubnetId=subnet, TagSpecifications=tags)
    control.add_faults(cloud.cloud, "denied=ec2:DeleteNetworkInterface")
    swept = laptop.type("sweep", "--dry-run", "--yes", "--region", "us-east-1")
    assert swept.code == 1, swept.said
    assert "held in us-east-1 was not deleted: " in swept.err
    assert "deleted orphaned resources of 1 cluster; saves $0.00/month" in swept.err
    assert "not deleted: held in us-east-1" in swept.err
    assert len(cloud.remains()) == 1


def test_a_role_whose_sessions_have_generated_names_finds_what_it_launched(laptop, cloud):
    control.add_faults(cloud.cloud, "sessions")
    assert laptop.type("up", "--dry-run").code == 0
    owners = {one["Value"] for one in cloud.living()[0]["Tags"] if one["Key"] == OWNER_TAG}
    other = json.loads(laptop.type("up", "other", "--dry-run", "--plan", "--json").out)["owner"]
    assert other not in owners  # a session of its own for each command
    leave_group(laptop, "eu-west-1", "lost", other)
    swept = laptop.type("sweep", "--dry-run", "--yes")
    assert (swept.code, "deleted orphaned resources of 1 cluster" in swept.err) == (0, True), swept.said
    assert laptop.type("down", "--all", "--dry-run").code == 0
    assert cloud.living() == []
