"""Auto Scaling groups on the local cloud: they launch, replace and end machines as AWS's do."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.cloud.server import control
from tests import local_cloud_fixtures as fixtures
from tests.local.test_local_fleet import make_template, subnets
from tests.local_cloud_fixtures import Machine, World, client, eventually

shared = fixtures.shared
NOTHING = {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
SPOT = {"OnDemandPercentageAboveBaseCapacity": 0, "SpotAllocationStrategy": "price-capacity-optimized"}


@dataclass(frozen=True)
class Group:
    """A group of the tests."""

    world: World
    name: str

    @property
    def scaling(self) -> Any:
        return client(self.world.cloud, "autoscaling")

    def describe(self) -> dict[str, Any]:
        [found] = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return found

    def exists(self) -> bool:
        return bool(self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"])

    def serving(self, count: int = 1) -> list[str]:
        """Wait for this many machines in service."""

        def look() -> list[str]:
            found = [one["InstanceId"] for one in self.describe()["Instances"] if one["LifecycleState"] == "InService"]
            return found if len(found) == count == len(self.describe()["Instances"]) else []

        return eventually(look)

    def replaced(self, gone: str) -> str:
        """Wait for the machine that takes the place of another."""
        return eventually(lambda: next((one for one in self.serving() if one != gone), ""))

    def activities(self) -> list[dict[str, Any]]:
        return self.scaling.describe_scaling_activities(AutoScalingGroupName=self.name)["Activities"]

    def refusals(self) -> list[str]:
        return [one["StatusMessage"] for one in self.activities() if one["StatusCode"] == "Failed"]

    def update(self, **changes: Any) -> None:
        self.scaling.update_auto_scaling_group(AutoScalingGroupName=self.name, **changes)

    def delete(self) -> None:
        self.scaling.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)


@pytest.fixture(scope="module")
def template(shared: World) -> str:
    return make_template(shared)


@pytest.fixture
def group(shared: World, template: str, request: pytest.FixtureRequest) -> Iterator[Group]:
    """A group at 0 that may launch g5.xlarge on the spot market in two zones."""
    made = create(shared, request.node.name[:60])
    yield made
    control.clear_faults(shared.cloud)
    if made.exists():
        made.delete()
        eventually(lambda: not made.exists())


def create(world: World, name: str, **changes: Any) -> Group:
    made, zones = Group(world, name), subnets(world)
    named = {"LaunchTemplateName": "demo", "Version": "$Latest"}
    launch = {"LaunchTemplateSpecification": named, "Overrides": [{"InstanceType": "g5.xlarge"}]}
    tags = [
        {"Key": "gpujob:cluster", "Value": name, "PropagateAtLaunch": True},
        {"Key": "secret", "Value": "of the group", "PropagateAtLaunch": False},
    ]
    words = {
        "AutoScalingGroupName": name,
        **NOTHING,
        "MixedInstancesPolicy": {"LaunchTemplate": launch, "InstancesDistribution": SPOT},
        "VPCZoneIdentifier": f"{zones['us-east-1b']},{zones['us-east-1c']}",
        "Tags": tags,
    }
    made.scaling.create_auto_scaling_group(**words | changes)
    return made


def refuse(match: str, call: Any, **words: Any) -> None:
    with pytest.raises(ClientError, match=match):
        call(**words)


def test_a_machine_is_all_that_group_and_template_say_and_reachable(shared, group):
    group.update(MinSize=0, MaxSize=2, DesiredCapacity=1)
    [one] = group.serving()
    machine = Machine(shared, one)
    found = machine.describe()
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert (found["InstanceLifecycle"], found["InstanceType"]) == ("spot", "g5.xlarge")
    assert found["Placement"]["AvailabilityZone"] in ("us-east-1b", "us-east-1c")
    assert [one["GroupName"] for one in found["SecurityGroups"]] == ["fleet"]
    assert (tags["gpujob:cluster"], tags["aws:autoscaling:groupName"]) == (group.name, group.name)
    assert "secret" not in tags
    assert machine.run("echo hello")[1] == b"hello\n"
    [launched] = group.activities()
    assert (launched["StatusCode"], one in launched["Description"]) == ("Successful", True)
    assert "increasing the capacity from 0 to 1" in launched["Cause"]


def test_what_powers_itself_off_is_reclaimed_or_unhealthy_is_replaced(shared, group):
    group.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    [first] = group.serving()
    Machine(shared, first).run("sudo poweroff")
    second = group.replaced(first)
    assert Machine(shared, first).state() == "terminated"
    shared.ec2.terminate_instances(InstanceIds=[second])
    third = group.replaced(second)
    group.scaling.set_instance_health(InstanceId=third, HealthStatus="Unhealthy")
    fourth = group.replaced(third)
    control.add_faults(shared.cloud, "interrupt=0")
    eventually(lambda: Machine(shared, fourth).state() == "terminated")
    control.clear_faults(shared.cloud)
    group.serving()
    causes = " ".join(one["Cause"] for one in group.activities())
    assert "EC2 health check indicating it has been terminated or stopped" in causes
    assert "user health-check" in causes


def test_without_capacity_it_says_so_in_aws_s_words_and_tries_until_there_is_some(shared, group):
    control.add_faults(shared.cloud, "no-capacity=g5.*@us-east-1b", "no-capacity=g5.*@us-east-1c")
    group.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    refusals = eventually(group.refusals)
    assert refusals[0].startswith("Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot")
    assert refusals[0].endswith("Launching EC2 instance failed.")
    assert group.describe()["Instances"] == []
    control.clear_faults(shared.cloud)
    group.serving()
    assert group.activities()[0]["StatusCode"] == "Successful"


def test_a_price_limit_and_the_quota_hold_for_groups(shared, template, group):
    policy = group.describe()["MixedInstancesPolicy"]
    policy["InstancesDistribution"] = SPOT | {"SpotMaxPrice": "0.0001"}
    group.update(MixedInstancesPolicy=policy, MinSize=0, MaxSize=1, DesiredCapacity=1)
    assert "SpotMaxPriceTooLow - Your Spot request price of 0.0001" in eventually(group.refusals)[0]
    control.add_faults(shared.cloud, "quota=0")
    policy["InstancesDistribution"] = {"OnDemandPercentageAboveBaseCapacity": 100}
    group.update(MixedInstancesPolicy=policy)
    eventually(lambda: "Could not launch On-Demand Instances. VcpuLimitExceeded - You have" in group.refusals()[0])


def test_the_scheduled_end_comes_by_the_clock_and_nothing_is_launched_after_it(shared, group):
    group.update(MinSize=0, MaxSize=2, DesiredCapacity=2)
    zones = {one["AvailabilityZone"] for one in group.describe()["Instances"]}
    ids = group.serving(2)
    assert len(zones | {one["AvailabilityZone"] for one in group.describe()["Instances"]}) == 2
    words = {"AutoScalingGroupName": group.name, "ScheduledActionName": "end", **NOTHING}
    put = group.scaling.put_scheduled_update_group_action
    now = datetime.now(UTC)
    refuse("in the past", put, **words, StartTime=now - timedelta(seconds=5))
    put(**words, StartTime=now + timedelta(seconds=1800))
    put(**words, StartTime=now + timedelta(seconds=3600))  # the same name moves it
    refuse("AlreadyExists", put, **words | {"ScheduledActionName": "b"}, StartTime=now + timedelta(seconds=3600))
    control.add_faults(shared.cloud, "clock=+1900")
    [planned] = group.scaling.describe_scheduled_actions(AutoScalingGroupName=group.name)["ScheduledUpdateGroupActions"]
    assert abs((planned["StartTime"] - now).total_seconds() - 3600) < 2
    assert group.serving(2) == ids
    control.add_faults(shared.cloud, "clock=+3700")
    eventually(lambda: group.describe()["Instances"] == [])
    assert {Machine(shared, one).state() for one in ids} == {"terminated"}
    assert group.describe()["MaxSize"] == 0
    assert (
        group.scaling.describe_scheduled_actions(AutoScalingGroupName=group.name)["ScheduledUpdateGroupActions"] == []
    )
    assert "a scheduled action update of AutoScalingGroup constraints to min: 0" in group.activities()[0]["Cause"]


def test_a_machine_can_leave_with_and_without_its_place(shared, group):
    group.update(MinSize=1, MaxSize=1, DesiredCapacity=1)
    [first] = group.serving()
    leave = group.scaling.terminate_instance_in_auto_scaling_group
    refuse("violate group's min size", leave, InstanceId=first, ShouldDecrementDesiredCapacity=True)
    refuse("No managed instance", leave, InstanceId="i-00000000000000000", ShouldDecrementDesiredCapacity=True)
    second_of = leave(InstanceId=first, ShouldDecrementDesiredCapacity=False)["Activity"]
    assert second_of["StatusCode"] == "InProgress"
    second = group.replaced(first)
    group.update(MinSize=0)
    leave(InstanceId=second, ShouldDecrementDesiredCapacity=True)
    eventually(lambda: group.describe()["Instances"] == [])
    assert group.describe()["DesiredCapacity"] == 0


def test_a_group_with_machines_is_deleted_only_by_force_and_suspended_processes_rest(shared, group):
    group.scaling.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["Launch"])
    group.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    time.sleep(0.5)  # nothing happens, for which there is nothing to wait
    assert group.describe()["Instances"] == []
    group.scaling.resume_processes(AutoScalingGroupName=group.name, ScalingProcesses=["Launch"])
    [one] = group.serving()
    refuse("ResourceInUse", group.scaling.delete_auto_scaling_group, AutoScalingGroupName=group.name)
    group.delete()
    refuse("pending delete|not found", group.update, MaxSize=2)
    eventually(lambda: not group.exists())
    assert Machine(shared, one).state() == "terminated"
    refuse("not found", group.delete)
    kept = group.scaling.describe_scaling_activities(AutoScalingGroupName=group.name, IncludeDeletedGroups=True)
    assert one in kept["Activities"][0]["Description"]


def test_machines_are_moved_to_an_emptier_zone_unless_that_is_suspended(shared, group):
    group.scaling.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["AZRebalance"])
    control.add_faults(shared.cloud, "no-capacity=g5.*@us-east-1b")
    group.update(MinSize=0, MaxSize=2, DesiredCapacity=2)
    before = group.serving(2)
    control.clear_faults(shared.cloud)
    time.sleep(1.5)  # longer than between two attempts; nothing happens, for which there is nothing to wait
    assert group.serving(2) == before
    group.scaling.resume_processes(AutoScalingGroupName=group.name, ScalingProcesses=["AZRebalance"])
    eventually(lambda: len({one["AvailabilityZone"] for one in group.describe()["Instances"]}) == 2)
    assert len(set(group.serving(2)) & set(before)) == 1  # a running machine was ended for it


def test_a_machine_whose_system_crashed_is_replaced(shared, group):
    group.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    [first] = group.serving()
    machine = Machine(shared, first)
    machine.port()
    machine.host().kill()
    group.replaced(first)
    assert "status checks failure" in " ".join(one["Cause"] for one in group.activities())


def test_a_stopped_machine_is_ended_and_replaced(shared, group):
    group.update(MinSize=0, MaxSize=1, DesiredCapacity=1)
    [first] = group.serving()
    shared.ec2.stop_instances(InstanceIds=[first])
    group.replaced(first)
    assert Machine(shared, first).state() == "terminated"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"MinSize": 2, "MaxSize": 1, "DesiredCapacity": 1}, "ValidationError.*Max bound, 1"),
        ({"MinSize": 0, "MaxSize": 1, "DesiredCapacity": 2}, "Desired capacity:2 must be between"),
        ({"VPCZoneIdentifier": "subnet-00000000"}, "subnet ID 'subnet-00000000' does not exist"),
        ({"LaunchTemplate": {"LaunchTemplateName": "demo"}}, "must contain either"),
        ({"AutoScalingGroupName": "anchor"}, "AlreadyExists"),
    ],
)
def test_what_aws_refuses_is_refused(shared, template, changes, refusal):
    anchor = Group(shared, "anchor")
    if not anchor.exists():
        create(shared, "anchor")
    refuse(refusal, create, world=shared, name=changes.get("AutoScalingGroupName", "refused"), **changes)
    assert not Group(shared, "refused").exists()
