"""What `up` really asks AWS for, read from the requests that the local cloud received and from what it made of them."""

import base64
import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import yaml

from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, LEASE_TAG, OWNER_ID_TAG, OWNER_TAG, parse_time, read_tags
from infra.local.cloud.request import Request, items
from infra.local.cloud.server import control
from infra.local.machine.userdata import lease_end_s
from tests.cloudwatch import Watch, watch
from tests.conftest import epoch, make_laptop

KINDS = {"instance", "volume", "network-interface"}


@dataclass(frozen=True)
class Sent:
    """The requests of two launches: one machine on demand ("one"), two on the spot market ("two")."""

    watch: Watch
    plans: dict[str, dict[str, Any]]

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Every call in order."""
        return control.read_trail(self.watch.cloud)

    def requests(self, action: str) -> list[dict[str, Any]]:
        """The parameters of each call of an action that came over the wire, as a tree."""
        found = [one["params"] for one in self.events if one["action"] == action and not one["inner"]]
        return [Request("", "", "ec2", action, params).tree() for params in found]

    def templates(self) -> dict[str, dict[str, Any]]:
        """The data of each launch template by cluster."""
        found = self.requests("CreateLaunchTemplate")
        named = {one["LaunchTemplateName"]: one["LaunchTemplateData"] for one in found}
        assert set(named) == {"gpujob-one-on-demand", "gpujob-two-spot"}
        return {name.split("-")[1]: data for name, data in named.items()}

    def instances(self) -> list[dict[str, Any]]:
        """What EC2 itself says of the machines."""
        return self.watch.living()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    laptop = make_laptop(tmp_path_factory.mktemp("requests"))
    try:
        plans = {}
        for name, *words in (("one", "--idle-stop", "2h", "--disk", "60"), ("two", "--nodes", "2", "--spot")):
            up = laptop.type("up", name, "--dry-run", "--json", *words)
            assert up.code == 0, up.said
            plans[name] = json.loads(up.out)
        yield Sent(watch(laptop), plans)
    finally:
        laptop.give_back()


def test_metadata_is_answered_to_tokens_alone_and_not_past_the_machine(sent):
    for data in sent.templates().values():
        assert data["MetadataOptions"] == {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": "1",
            "HttpEndpoint": "enabled",
        }
    for machine in sent.instances():
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert machine["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_the_disk_is_encrypted_as_large_as_planned_and_goes_with_the_machine(sent):
    for name, data in sent.templates().items():
        [disk] = items(data["BlockDeviceMapping"])
        assert disk["DeviceName"] == sent.plans[name]["choices"][0]["image"]["root_device"]
        size = str(sent.plans[name]["request"]["disk_gib"])
        expected = {"Encrypted": "true", "DeleteOnTermination": "true", "VolumeType": "gp3", "VolumeSize": size}
        assert disk["Ebs"] == expected
    volumes = sent.watch.listing("volumes")
    assert len(volumes) == len(sent.instances())
    assert all(volume["Encrypted"] for volume in volumes)
    for machine in sent.instances():
        [mapping] = machine["BlockDeviceMappings"]
        assert mapping["Ebs"]["DeleteOnTermination"] is True


def test_a_machine_that_powers_itself_off_is_terminated_and_its_interface_with_it(sent):
    for data in sent.templates().values():
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        [interface] = items(data["NetworkInterface"])
        assert interface["DeleteOnTermination"] == "true"
    for machine in sent.instances():
        ask = {"InstanceId": machine["InstanceId"], "Attribute": "instanceInitiatedShutdownBehavior"}
        found = sent.watch.ec2.describe_instance_attribute(**ask)
        assert found["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def commands_of(data: dict[str, Any]) -> list[list[str]]:
    document = yaml.safe_load(base64.b64decode(data["UserData"]))
    assert list(document) == ["bootcmd"]
    return list(document["bootcmd"])


def test_the_first_thing_that_a_machine_does_is_to_arm_the_end_of_its_lease(sent):
    for name, data in sent.templates().items():
        commands = commands_of(data)
        [arm] = [number for number, command in enumerate(commands) if "--boot" in command]
        written = {path for command in commands[:arm] for path in re.findall(r"> (\S+)$", command[2])}
        assert {"/etc/systemd/system/gpujob-lease.service", commands[arm][0]} <= written
        script = next(command[-1] for command in commands if command[2].endswith(commands[arm][0]))
        for line in ("systemctl enable gpujob-lease.timer", "systemctl restart --no-block gpujob-lease.timer"):
            assert line in script.splitlines()
        assert "Unit=gpujob-lease.service" in script.splitlines()
        ends = lease_end_s(base64.b64decode(data["UserData"]).decode())
        assert ends == pytest.approx(epoch(sent.plans[name]["lease"]["until"]), abs=1)


def test_every_service_that_user_data_starts_is_written_before(sent):
    for name, data in sent.templates().items():
        written: set[str] = set()
        for command in commands_of(data):
            if command[0] == "sh":
                written |= {path.rpartition("/")[2] for path in re.findall(r"> (\S+)$", command[2])}
            elif command[0] == "systemctl" and command[-1].endswith(".service"):
                assert command[-1] in written
        assert "gpujob-guard.service" in written
        [guard] = [command[-1] for command in commands_of(data) if command[0] == "sh" and "guard" in command[2]]
        lease = sent.plans[name]["lease"]
        assert f"guard {lease['idle_stop_s']:g} {lease['warning_s']:g}'" in guard


def test_the_tag_of_the_lease_says_what_the_machine_does(sent):
    for machine in sent.instances():
        assert parse_time(read_tags(machine)[LEASE_TAG]) == sent.watch.lease_end_s(machine["InstanceId"])


def test_port_22_is_open_to_one_address_and_nothing_else_is_open_but_between_nodes(sent):
    rules = [
        (asked["GroupId"], rule)
        for asked in sent.requests("AuthorizeSecurityGroupIngress")
        for rule in items(asked["IpPermissions"])
    ]
    assert len(rules) == 3
    within = [(group, rule) for group, rule in rules if rule["IpProtocol"] == "-1"]
    [(group, rule)] = within
    assert [pair["GroupId"] for pair in items(rule["Groups"])] == [group]
    assert not {"IpRanges", "Ipv6Ranges"} & rule.keys()
    for _, rule in (one for one in rules if one not in within):
        assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", "22", "22")
        [address] = items(rule["IpRanges"])
        assert ipaddress.ip_network(address["CidrIp"]).num_addresses == 1
        assert address["CidrIp"] == sent.plans["one"]["address"]
        assert not {"Groups", "Ipv6Ranges"} & rule.keys()
    for group in sent.watch.listing("groups", [{"Name": "tag-key", "Values": [CLUSTER_TAG]}]):
        ranges = [r["CidrIp"] for one in group["IpPermissions"] for r in one["IpRanges"]]
        assert ranges == [sent.plans["one"]["address"]]


def test_a_machine_stands_behind_the_cluster_s_group_with_the_cluster_s_key_and_the_planned_image(sent):
    groups = {one["GroupName"]: one["GroupId"] for one in sent.watch.listing("groups")}
    for name, data in sent.templates().items():
        [interface] = items(data["NetworkInterface"])
        assert list(interface["SecurityGroupId"].values()) == [groups[f"gpujob-{name}"]]
        assert (interface["DeviceIndex"], interface["AssociatePublicIpAddress"]) == ("0", "true")
        assert data["KeyName"] == f"gpujob-{name}"
        assert data["ImageId"] == sent.plans[name]["choices"][0]["image"]["image_id"]
        assert not {"IamInstanceProfile", "SecurityGroup"} & data.keys()


def test_a_fleet_is_asked_for_at_once_and_whole_among_what_was_planned(sent):
    one, two = sent.requests("CreateFleet")
    for name, asked in (("one", one), ("two", two)):
        assert asked["Type"] == "instant"
        [config] = items(asked["LaunchTemplateConfigs"])
        planned = {offer["instance_type"] for offer in sent.plans[name]["choices"][0]["offers"]}
        overrides = items(config["Overrides"])
        assert {override["InstanceType"] for override in overrides} == planned
        assert all(set(override) == {"InstanceType", "SubnetId"} for override in overrides)
        assert asked["ClientToken"].startswith(read_token(asked))
    assert one["TargetCapacitySpecification"] == {"TotalTargetCapacity": "1", "DefaultTargetCapacityType": "on-demand"}
    assert two["TargetCapacitySpecification"] == {"TotalTargetCapacity": "2", "DefaultTargetCapacityType": "spot"}
    assert "SpotOptions" not in one
    assert two["SpotOptions"] == {
        "AllocationStrategy": "price-capacity-optimized",
        "InstanceInterruptionBehavior": "terminate",
        "SingleInstanceType": "true",
        "SingleAvailabilityZone": "true",
        "MinTargetCapacity": "2",
    }


def tags_of(asked: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The tags that a request puts on what it makes, by kind."""
    found = items(asked.get("TagSpecification", asked.get("TagSpecifications")))
    return {one["ResourceType"]: {t["Key"]: t["Value"] for t in items(one["Tag"])} for one in found}


def read_token(asked: dict[str, Any]) -> str:
    [(_, tags)] = tags_of(asked).items()
    return tags[LAUNCH_TAG]


def test_all_that_is_made_bears_owner_cluster_and_launch_from_its_first_moment(sent):
    calls = {
        "ImportKeyPair": {"key-pair"},
        "CreateSecurityGroup": {"security-group"},
        "CreateLaunchTemplate": {"launch-template"},
        "CreateFleet": {"fleet"},
    }
    for action, kinds in calls.items():
        for name, asked in zip(("one", "two"), sent.requests(action), strict=True):
            assert set(tags_of(asked)) == kinds
            check_tags(sent, name, tags_of(asked))
    for name, data in sent.templates().items():
        made = tags_of(data)
        assert set(made) == KINDS | ({"spot-instances-request"} if name == "two" else set())
        check_tags(sent, name, made)


def check_tags(sent: Sent, name: str, made: dict[str, dict[str, str]]) -> None:
    for tags in made.values():
        assert tags[CLUSTER_TAG] == name
        assert tags[OWNER_TAG] == sent.plans[name]["owner"]
        assert tags[OWNER_ID_TAG]
        assert tags[LAUNCH_TAG]
        assert parse_time(tags[LEASE_TAG]) == int(epoch(sent.plans[name]["lease"]["until"]))


def test_the_order_leaves_nothing_that_nobody_finds(sent):
    """The key pair, which takes the name, comes first; a machine comes last, when all that it stands behind is there."""
    order = ["ImportKeyPair", "CreateSecurityGroup", "CreateLaunchTemplate", "CreateFleet"]
    made = [one["action"] for one in sent.events if one["action"] in order]
    assert made == order * 2
    assert not [one for one in sent.events if one["action"] == "RunInstances" and not one["inner"]]
