"""CreateFleet(instant) and launch templates on the local cloud, as AWS answers them."""

import base64
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import local_cloud_fixtures as fixtures
from tests.local_cloud_fixtures import KEY_NAME, World, lease, let_in

shared = fixtures.shared

OURS = [{"Key": "gpujob:cluster", "Value": "<&>"}]
KINDS = ("instance", "volume", "network-interface")


@pytest.fixture(scope="module")
def template(shared: World) -> str:
    return make_template(shared)


def make_template(shared: World) -> str:
    group = shared.ec2.create_security_group(GroupName="fleet", Description="of the tests")["GroupId"]
    let_in(shared, GroupId=group)
    disk = {"VolumeSize": 9, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    data = {
        "ImageId": shared.image(),
        "KeyName": KEY_NAME,
        "UserData": base64.b64encode(lease(2_000_000_000).encode()).decode(),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": True}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": OURS} for kind in KINDS],
    }
    shared.ec2.create_launch_template(LaunchTemplateName="demo", LaunchTemplateData=data)
    return "demo"


def subnets(world: World) -> dict[str, str]:
    return {one["AvailabilityZone"]: one["SubnetId"] for one in world.ec2.describe_subnets()["Subnets"]}


def fleet(world: World, *places: tuple[str, str], count: int = 1, spot: bool = False, **changes: Any) -> dict[str, Any]:
    zones = subnets(world)
    overrides = [{"InstanceType": name, "SubnetId": zones[f"us-east-1{zone}"]} for name, zone in places]
    named = {"LaunchTemplateName": "demo", "Version": "$Latest"}
    request = {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": named, "Overrides": overrides}],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
    }
    return world.ec2.create_fleet(**request | changes)


def launched(answer: dict[str, Any]) -> list[str]:
    return [one for entry in answer["Instances"] for one in entry["InstanceIds"]]


def describe(world: World, ids: list[str]) -> list[dict[str, Any]]:
    found = world.ec2.describe_instances(InstanceIds=ids)["Reservations"]
    return [instance for reservation in found for instance in reservation["Instances"]]


def test_every_word_of_the_launch_template_reaches_the_instances(shared, template):
    ids = launched(fleet(shared, ("g5.xlarge", "b"), count=2))
    for instance in describe(shared, ids):
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert instance["Placement"]["AvailabilityZone"] == "us-east-1b"
        assert [group["GroupName"] for group in instance["SecurityGroups"]] == ["fleet"]
        assert instance["KeyName"] == KEY_NAME
        assert {"aws:ec2:fleet-id", "aws:ec2launchtemplate:id", "gpujob:cluster"} <= {
            t["Key"] for t in instance["Tags"]
        }
        ask = {"InstanceId": instance["InstanceId"]}
        behaviour = shared.ec2.describe_instance_attribute(**ask, Attribute="instanceInitiatedShutdownBehavior")
        assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        data = shared.ec2.describe_instance_attribute(**ask, Attribute="userData")["UserData"]["Value"]
        assert base64.b64decode(data).decode() == lease(2_000_000_000)
    mine = [{"Name": "attachment.instance-id", "Values": ids}]
    volumes = shared.ec2.describe_volumes(Filters=mine)["Volumes"]
    interfaces = shared.ec2.describe_network_interfaces(Filters=mine)["NetworkInterfaces"]
    assert len(volumes) == len(interfaces) == 2
    assert all(volume["Encrypted"] and volume["Tags"] == OURS for volume in volumes)
    assert all(interface["TagSet"] == OURS for interface in interfaces)


def test_the_fleet_itself_bears_its_tags_and_tells_its_instances(shared, template):
    tags = [{"Key": "gpujob:cluster", "Value": "demo"}]
    answer = fleet(shared, ("g5.xlarge", "b"), TagSpecifications=[{"ResourceType": "fleet", "Tags": tags}])
    (found,) = shared.ec2.describe_fleets(FleetIds=[answer["FleetId"]])["Fleets"]
    assert found["Tags"] == tags
    assert found["Type"] == "instant"
    active = shared.ec2.describe_fleet_instances(FleetId=answer["FleetId"])["ActiveInstances"]
    assert [one["InstanceId"] for one in active] == launched(answer)


def test_one_client_token_makes_one_fleet_and_one_template(shared, template):
    token = uuid.uuid4().hex
    first = fleet(shared, ("g5.xlarge", "b"), ClientToken=token)
    again = fleet(shared, ("g5.xlarge", "b"), ClientToken=token)
    assert (again["FleetId"], launched(again)) == (first["FleetId"], launched(first))
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        fleet(shared, ("g5.xlarge", "b"), count=2, ClientToken=token)
    words = {"LaunchTemplateName": "twice", "LaunchTemplateData": {"KeyName": "k"}, "ClientToken": token}
    made = [shared.ec2.create_launch_template(**words)["LaunchTemplate"]["LaunchTemplateId"] for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(ClientError, match="already"):
        shared.ec2.create_launch_template(**words | {"ClientToken": uuid.uuid4().hex})


def test_the_cheapest_pool_is_taken_and_a_zone_without_the_type_is_told_of(shared, template):
    zones = subnets(shared)
    offered = shared.ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["g5.xlarge"]}]
    )["InstanceTypeOfferings"]
    lacking = sorted(set(zones) - {one["Location"] for one in offered})[0][-1]
    answer = fleet(shared, ("g5.2xlarge", "b"), ("g5.xlarge", lacking), ("g5.xlarge", "b"))
    (entry,), (refused,) = answer["Instances"], answer["Errors"]
    assert (entry["InstanceType"], entry["Lifecycle"]) == ("g5.xlarge", "on-demand")
    assert entry["LaunchTemplateAndOverrides"]["Overrides"]["SubnetId"] == zones["us-east-1b"]
    assert refused["ErrorCode"] == "Unsupported"
    assert f"(us-east-1{lacking})" in refused["ErrorMessage"]
    assert refused["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "g5.xlarge"


def test_a_quota_bounds_a_fleet_which_is_then_partial(shared, template):
    answer = fleet(shared, ("p4d.24xlarge", "b"), count=2)
    assert len(launched(answer)) == 1
    assert answer["Errors"][0]["ErrorCode"] == "VcpuLimitExceeded"
    assert "limit of 96" in answer["Errors"][0]["ErrorMessage"]
    with pytest.raises(ClientError, match="VcpuLimitExceeded"):
        shared.launch(InstanceType="p4d.24xlarge")
    shared.ec2.terminate_instances(InstanceIds=launched(answer))
    whole = {"SingleInstanceType": True, "MinTargetCapacity": 2}
    none = fleet(shared, ("p4d.24xlarge", "b"), count=2, OnDemandOptions=whole)
    assert none["Instances"] == []
    assert none["Errors"][0]["ErrorCode"] == "VcpuLimitExceeded"


def test_a_spot_fleet_launches_spot_instances_in_the_cheapest_zone(shared, template):
    options = {"AllocationStrategy": "price-capacity-optimized"}
    answer = fleet(shared, *(("g5.xlarge", zone) for zone in "abcdef"), spot=True, SpotOptions=options)
    ((entry,), (instance,)) = answer["Instances"], describe(shared, launched(answer))
    assert entry["Lifecycle"] == instance["InstanceLifecycle"] == "spot"
    ask = {"InstanceTypes": ["g5.xlarge"], "ProductDescriptions": ["Linux/UNIX"], "StartTime": datetime.now(UTC)}
    rows = shared.ec2.describe_spot_price_history(**ask)["SpotPriceHistory"]
    cheapest = min(rows, key=lambda row: float(row["SpotPrice"]))["AvailabilityZone"]
    assert instance["Placement"]["AvailabilityZone"] == cheapest


def test_a_price_limit_below_the_spot_price_is_refused_by_pool(shared, template):
    named = {"LaunchTemplateName": "demo", "Version": "$Latest"}
    dear = [{"InstanceType": "g5.xlarge", "MaxPrice": "0.01"}]
    configs = [{"LaunchTemplateSpecification": named, "Overrides": dear}]
    answer = fleet(shared, spot=True, LaunchTemplateConfigs=configs)
    assert answer["Instances"] == []
    assert answer["Errors"][0]["ErrorCode"] == "SpotMaxPriceTooLow"


def test_what_does_not_exist_is_told_by_ec2_s_own_codes(shared, template):
    missing = {"LaunchTemplateName": "nope", "Version": "$Latest"}
    with pytest.raises(ClientError, match=r"InvalidLaunchTemplateName\.NotFoundException"):
        fleet(shared, LaunchTemplateConfigs=[{"LaunchTemplateSpecification": missing}])
    data = {"ImageId": shared.image(), "InstanceType": "g5.xlarge", "SecurityGroupIds": ["sg-00000000"]}
    made = shared.ec2.create_launch_template(LaunchTemplateName="stale", LaunchTemplateData=data)["LaunchTemplate"]
    stale = {"LaunchTemplateId": made["LaunchTemplateId"], "Version": "1"}
    answer = fleet(shared, LaunchTemplateConfigs=[{"LaunchTemplateSpecification": stale}])
    assert answer["Instances"] == []
    assert answer["Errors"][0]["ErrorCode"] == "InvalidGroup.NotFound"


def test_a_dry_run_launches_nothing_and_says_that_it_would(shared, template):
    before = len(shared.ec2.describe_instances()["Reservations"])
    with pytest.raises(ClientError, match="DryRunOperation"):
        fleet(shared, ("g5.xlarge", "b"), DryRun=True)
    assert len(shared.ec2.describe_instances()["Reservations"]) == before


def test_user_data_beyond_16_kib_is_refused(shared, template):
    data = {"UserData": base64.b64encode(b"x" * 16_385).decode()}
    with pytest.raises(ClientError, match="User data is limited to 16384 bytes"):
        shared.ec2.create_launch_template_version(LaunchTemplateName=template, LaunchTemplateData=data)
