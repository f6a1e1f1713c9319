"""A cluster that an Auto Scaling group keeps: made with an end, shown, and removed before it replaces anything."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.ec2.account import Account, open_local
from infra.ec2.machines import instances
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.policy import make_policy
from infra.ec2.scaling import activities, groups, policy, schedule
from infra.ec2.scaling.groups import Pools
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, LEASE_TAG, format_time, tag_specification
from infra.errors import CloudError, GpujobError, UsageError
from infra.launch import power
from infra.local.cloud.iam import permissions, policies
from infra.local.cloud.server import control
from infra.model import Market
from infra.ssh.keys import make_key
from tests.cloudwatch import FEW_REGIONS, Watch, lasting_cloud, watch
from tests.conftest import Laptop, wait_for
from tests.local_cloud_fixtures import IMAGE

pytestmark = pytest.mark.timeout(300)

ANN = {"arn": "arn:aws:iam::123456789012:user/ann", "user_id": "AIDAANN"}
BOB = {"arn": "arn:aws:iam::123456789012:user/bob", "user_id": "AIDABOB"}
HOUR_S = 3600
STRICT = make_policy(owner_only=True)
SENDING = {**STRICT, "Statement": [*STRICT["Statement"], *policy.make_statements(owner_only=True)]}
TOKEN = "0123456789abcdef01234567"


@dataclass(frozen=True)
class Site:
    """A laptop with a local cloud, and what `send` would make there."""

    laptop: Laptop
    watch: Watch
    account: Account

    def prepare(self, name: str, lease_until: float) -> tuple[Pools, dict[str, str]]:
        """Make all that a group needs, with our tags."""
        ec2, owner = self.account.ec2, self.account.identity
        until = format_time(lease_until)
        tags = {CLUSTER_TAG: name, LAUNCH_TAG: TOKEN, LEASE_TAG: until, **owner.tags}
        ours = f"gpujob-{name}"

        def told(kind: Any) -> list[Any]:
            return [tag_specification(kind, tags)]

        ec2.import_key_pair(KeyName=ours, PublicKeyMaterial=make_key()[1].encode(), TagSpecifications=told("key-pair"))
        group = ec2.create_security_group(GroupName=ours, Description=ours, TagSpecifications=told("security-group"))[
            "GroupId"
        ]
        data: dict[str, Any] = {
            "ImageId": self.account.ssm.get_parameters(Names=[IMAGE])["Parameters"][0]["Value"],
            "KeyName": ours,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group], "DeleteOnTermination": True}],
            "TagSpecifications": [
                tag_specification(kind, tags) for kind in ("instance", "volume", "network-interface")
            ],
        }
        made = ec2.create_launch_template(
            LaunchTemplateName=f"{ours}-spot", LaunchTemplateData=data, TagSpecifications=told("launch-template")
        )
        zones = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
        return Pools(
            made["LaunchTemplate"]["LaunchTemplateId"], ("g4dn.xlarge", "g5.xlarge"), tuple(zones), "spot"
        ), tags

    def send(self, name: str, machines: int = 1, lease_until: float = 0.0, market: Market = "spot") -> str:
        """Make a group that keeps machines."""
        pools, tags = self.prepare(name, lease_until or time.time() + HOUR_S)
        pools = replace(pools, market=market)
        group = groups.create_group(self.account, name, pools, tags)
        schedule.arm_end(self.account, group, time.time() + HOUR_S)
        groups.set_capacity(self.account, group, machines)
        return group

    def serving(self, name: str) -> list[str]:
        """Name the machines of a group that are in service."""
        found = groups.find_group(self.account, name).members
        return [one.instance_id for one in found if one.state == "InService"]

    def launches(self, group: str) -> int:
        """Count how often a group has launched a machine, also after its end."""
        told = self.account.scaling.describe_scaling_activities(AutoScalingGroupName=group, IncludeDeletedGroups=True)
        return sum(one["Description"].startswith("Launching") for one in told["Activities"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lasting_cloud(tmp_path_factory.mktemp("sent")) as laptop:
        cloud = watch(laptop).cloud
        control.add_faults(cloud, *FEW_REGIONS)
        yield Site(laptop, watch(laptop), open_local(cloud.url, cloud.access_key))


@pytest.fixture(autouse=True)
def plain(site: Site) -> Iterator[None]:
    yield
    control.set_caller(site.watch.cloud)
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)


def test_a_group_has_an_end_before_a_machine_and_the_policy_allows_each_step_to_its_owner_alone(site):
    cloud = site.watch.cloud
    control.set_caller(cloud, **ANN, policy=SENDING)
    ann = open_local(cloud.url, cloud.access_key)
    mine = replace(site, account=ann)
    control.clear_trail(cloud)
    pools, tags = mine.prepare("mine", time.time() + HOUR_S)
    group = groups.create_group(ann, "mine", pools, tags)
    assert groups.create_group(ann, "mine", pools, tags) == group  # after a crash
    with pytest.raises(UsageError, match="created by another launch"):
        groups.create_group(ann, "mine", pools, tags | {LAUNCH_TAG: "other"})
    with pytest.raises(CloudError, match="has no end in AWS"):
        groups.set_capacity(ann, group, 1)
    schedule.arm_end(ann, group, time.time() + HOUR_S)
    groups.set_capacity(ann, group, 1)
    wait_for(lambda: mine.serving("mine"), "machine")
    later = time.time() + 2 * HOUR_S
    groups.move_end(ann, "mine", later)
    assert abs((schedule.find_end(ann, group) or 0) - later) <= 1
    groups.set_tags(ann, group, {LEASE_TAG: format_time(later)})
    assert abs(groups.find_group(ann, "mine").lease_until - later) <= 1
    assert [one.status for one in activities.read_activities(ann, group)] == ["Successful"]

    control.set_caller(cloud, **BOB, policy=SENDING)
    bob = open_local(cloud.url, cloud.access_key)
    for attempt in (
        lambda: groups.set_to_zero(bob, group),
        lambda: groups.delete_group(bob, group),
        lambda: schedule.arm_end(bob, group, later + HOUR_S),
        lambda: groups.set_tags(bob, group, tags),
        lambda: groups.create_group(bob, "theirs", pools, tags),
    ):
        with pytest.raises(GpujobError, match=r"do not allow autoscaling:"):
            attempt()
    control.set_caller(cloud, **ANN, policy=SENDING)
    assert remove_cluster(ann, "mine", lambda _: None)
    needs = [permissions.Need(**need) for event in control.read_trail(cloud) for need in event["needs"]]
    used = {need.action for need in needs}
    extra = {action for one in policy.make_statements() for action in one["Action"] if not action.startswith("ssm:")}
    for_extend = {
        "ec2:CreateLaunchTemplateVersion",
        "ec2:DescribeLaunchTemplateVersions",
        "autoscaling:ResumeProcesses",
    }
    assert extra - used == {"iam:CreateServiceLinkedRole"} | for_extend  # AWS asks for the first once, by itself
    ann_s = {"aws:userid": ANN["user_id"], "aws:PrincipalAccount": "123456789012"}
    changes = [need for need in needs if need.action in policy.CHANGE]
    for need in changes:
        bare = replace(need, resource_tags={}, request_tags={})
        elsewhere = replace(need, resource=need.resource.replace("gpujob-", "web-"))
        assert not policies.is_allowed(SENDING, bare, ann_s)
        assert not policies.is_allowed(SENDING, elsewhere, ann_s)
    assert groups.find_groups(ann) == []


class Killed(BaseException):
    """The end of a process, at a call."""


def kill(account: Account, number: int, when: str) -> None:
    """End what runs before or after its n-th call that changes something."""
    left = [number]

    def count(model: Any, **_: Any) -> None:
        if not model.name.startswith("Describe"):
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    for client in (account.ec2, account.scaling):
        client.meta.events.register(f"{when}-call", count)


def test_a_removal_that_is_killed_at_each_call_in_turn_never_lets_the_group_replace_a_machine(site):
    group = site.send("killed", machines=2)
    wait_for(lambda: len(site.serving("killed")) == 2, "machines")
    cloud = site.watch.cloud
    kills = 0
    for number, when in ((number, when) for number in range(1, 30) for when in ("before", "after")):
        account = open_local(cloud.url, cloud.access_key)
        kill(account, number, when)
        try:
            remove_cluster(account, "killed", lambda _: None)
            break
        except Killed:
            kills += 1
    assert kills > 4, kills
    assert site.launches(group) == 2
    assert site.watch.remains() == []


def test_a_group_without_a_machine_is_listed_with_aws_s_words_kept_by_sweep_and_ended_by_down(site):
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    group = site.send("patient")
    wait_for(lambda: find_obstacles(site, group), "attempt")
    obstacles = find_obstacles(site, group)
    assert obstacles[0].startswith("Could not launch Spot Instances. InsufficientInstanceCapacity - ")
    listed = site.laptop.type("ls", "--dry-run")
    assert "patient waits for 1 machine; AWS says: Could not launch Spot Instances." in listed.said
    [row] = json.loads(site.laptop.type("ls", "--dry-run", "--json").out)
    assert (row["name"], row["state"], row["usd_per_hour"], row["refusals"]) == ("patient", "waiting", 0, obstacles)
    assert "nothing to do" in site.laptop.type("sweep", "--dry-run", "--yes").said
    again = site.laptop.type("up", "patient", "--dry-run")
    assert (again.code, "already exists" in again.err) == (2, True), again.said
    assert groups.find_group(site.account, "patient").capacity == 1
    down = site.laptop.type("down", "patient", "--dry-run")
    assert (down.code, "nothing left that bills" in down.said) == (0, True), down.said
    assert site.watch.remains() == []


def find_obstacles(site: Site, group: str) -> list[str]:
    """Return why a group could not launch."""
    return activities.find_obstacles(activities.read_activities(site.account, group))


def test_a_group_whose_lease_is_over_is_swept_with_its_machine(site):
    group = site.send("old", lease_until=time.time() - HOUR_S)
    wait_for(lambda: site.serving("old"), "machine")
    swept = site.laptop.type("sweep", "--dry-run", "--yes")
    assert (swept.code, "group gpujob-old" in swept.said) == (0, True), swept.said
    assert site.launches(group) == 1
    assert site.watch.remains() == []


def test_who_may_not_list_groups_ends_other_clusters_but_none_that_a_group_would_replace(site):
    site.send("hidden", market="on-demand")
    wait_for(lambda: site.serving("hidden"), "machine")
    [cluster] = instances.find_clusters(site.account, "hidden")
    with pytest.raises(CloudError, match="would replace stopped ones"):
        power.stop(site.account, cluster, lambda _: None)
    control.add_faults(site.watch.cloud, "denied=autoscaling:DescribeAutoScalingGroups")
    with pytest.raises(ClientError, match="AccessDenied"):
        site.account.scaling.describe_auto_scaling_groups()
    refused = site.laptop.type("down", "hidden", "--dry-run", "--force")
    assert (refused.code, "autoscaling:DescribeAutoScalingGroups" in refused.err) == (1, True), refused.said
    assert len(site.watch.living()) == 1
    assert site.laptop.type("ls", "--dry-run").code == 0
    control.clear_faults(site.watch.cloud)
    assert site.laptop.type("down", "--all", "--dry-run", "--force", "--yes").code == 0
    assert site.watch.remains() == []


def test_a_security_group_that_auto_scaling_does_not_find_yet_is_waited_for(site):
    control.add_faults(site.watch.cloud, "unsettled=3")
    pools, tags = site.prepare("fresh", time.time() + HOUR_S)
    pools = replace(
        pools, instance_types=("g4dn.xlarge", *(f"g5.{n}xlarge" for n in range(2, 50)))
    )  # more than AWS takes
    group = groups.create_group(site.account, "fresh", pools, tags)
    assert groups.find_group(site.account, "fresh").name == group
    assert remove_cluster(site.account, "fresh", lambda _: None)


def test_machines_that_die_before_they_are_there_are_an_obstacle_in_aws_s_words(site):
    control.add_faults(site.watch.cloud, "boot=60", "dies=0.1")
    group = site.send("dead")
    words = "Termination Reason: Server.InternalError: Internal error on launch"
    wait_for(lambda: any(words in one for one in find_obstacles(site, group)), "obstacle")
    control.clear_faults(site.watch.cloud)
    wait_for(lambda: site.serving("dead") and not find_obstacles(site, group), "machine")
    assert remove_cluster(site.account, "dead", lambda _: None)


def test_a_group_without_its_template_is_ended_and_one_that_is_gone_has_done_nothing(site):
    group = site.send("bare")
    wait_for(lambda: site.serving("bare"), "machine")
    site.account.ec2.delete_launch_template(LaunchTemplateName=f"{group}-spot")
    assert groups.delete_group(site.account, group)
    wait_for(lambda: not groups.find_groups(site.account, "bare"), "end of the group")
    assert activities.read_activities(site.account, group) == []
    assert remove_cluster(site.account, "bare", lambda _: None)
