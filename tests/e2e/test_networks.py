"""Accounts as they are: other networks than the default VPC, security groups of others, machines without a public address."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.ec2.policy import make_policy
from infra.ec2.tags import CLUSTER_TAG, IMAGE_TAG, read_tags
from infra.local.cloud.iam import policies
from infra.local.cloud.iam.permissions import Need
from infra.local.cloud.server import control
from tests.cloudwatch import LISTINGS, Watch, keep_alive, lasting_cloud, watch
from tests.conftest import Laptop
from tests.local_cloud_fixtures import client

pytestmark = pytest.mark.timeout(400)
ANYWHERE = "0.0.0.0/0"
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}


@dataclass(frozen=True)
class Site:
    """A laptop, and a VPC with a public and a private subnet in its account."""

    laptop: Laptop
    vpc: str
    public: str
    private: str

    @property
    def watch(self) -> Watch:
        return watch(self.laptop)

    def plan(self, *words: str) -> Any:
        """Return the plan of a launch, or what was said if there is none."""
        planned = self.laptop.type("up", "site", "--dry-run", "--plan", "--json", *words)
        return json.loads(planned.out) if planned.code == 0 else planned

    def machines(self, name: str) -> list[dict[str, Any]]:
        """Return the machines of a cluster that may cost money."""
        return [one for one in self.watch.living() if {"Key": CLUSTER_TAG, "Value": name} in one["Tags"]]

    def make_group(self, name: str, *rules: dict[str, Any], vpc: str = "") -> str:
        """Make a security group of somebody else."""
        ec2 = self.watch.ec2
        group = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc or self.vpc)["GroupId"]
        if rules:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(rules))
        return str(group)


def make_subnet(ec2: Any, vpc: str, block: str, name: str, zone: str = "us-east-1a") -> str:
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": name}]}]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone, TagSpecifications=tags)
    return str(made["Subnet"]["SubnetId"])


def make_network(ec2: Any) -> tuple[str, str, str]:
    """Make a VPC with a public and a private subnet; return their ids."""
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    public, private = make_subnet(ec2, vpc, "10.20.1.0/24", "front"), make_subnet(ec2, vpc, "10.20.2.0/24", "back")
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=public)
    return vpc, public, private


def make_ssh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an ssh that finds its settings in the laptop's home; OpenSSH asks the system where the user's is."""
    program = tmp_path_factory.mktemp("bin") / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "$HOME/.ssh/config" "$@"\n')
    program.chmod(0o755)
    return program.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = f"{make_ssh(tmp_path_factory)}:{os.environ['PATH']}"
    with lasting_cloud(tmp_path_factory.mktemp("site"), PATH=path) as laptop:
        (laptop.home / ".ssh").mkdir(mode=0o700)
        (laptop.home / ".ssh" / "config").touch(mode=0o600)
        yield Site(laptop, *make_network(watch(laptop).ec2))


def from_here(site: Site) -> dict[str, Any]:
    """The rule that lets this computer in."""
    return {**SSH, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}


def test_a_machine_is_launched_in_the_subnet_and_with_the_security_group_that_were_named_and_they_stay(site):
    group = site.make_group("ours", from_here(site))
    before = site.watch.listing("groups")
    plan = site.plan("--subnet", site.public, "--security-group", group)
    [choice] = plan["choices"]
    assert choice["vpc"] == site.vpc
    assert {zone for offer in choice["offers"] for zone in offer["prices"]} == {"us-east-1a"}
    up = site.laptop.type("up", "site", "--dry-run", "--subnet", site.public, "--security-group", group)
    assert up.code == 0, up.said
    assert f"{site.vpc}, {site.public}; {group}, which is not changed" in " ".join(up.said.split())
    [machine] = site.machines("site")
    assert machine["SubnetId"] == site.public
    assert [one["GroupId"] for one in machine["SecurityGroups"]] == [group]
    assert site.laptop.type("down", "site", "--dry-run").code == 0
    assert site.watch.listing("groups") == before


def test_what_a_security_group_does_not_let_in_is_warned_of_before_anything_is_launched(site):
    closed = site.make_group("closed", {**SSH, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]})
    planned = site.laptop.type(
        "up", "site", "--dry-run", "--plan", "--subnet", site.public, "--security-group", closed, "--nodes", "2"
    )
    said = " ".join(planned.said.split())
    assert f"warning: {closed} does not let 127.0.0.1/32 reach port 22" in said
    assert f"warning: {closed} does not let the machines reach each other" in said
    unsure = site.make_group("lists", {**SSH, "PrefixListIds": [{"PrefixListId": "pl-0123456789abcdef0"}]})
    words = ("--subnet", site.public, "--security-group", unsure)
    said = " ".join(site.laptop.type("up", "site", "--dry-run", "--plan", *words).said.split())
    assert "reach port 22, unless a prefix list of its rules does" in said
    wide = site.make_group("wide", {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "127.0.0.0/8"}]})
    words = ("--subnet", site.public, "--security-group", wide)
    assert "warning" not in site.laptop.type("up", "site", "--dry-run", "--plan", *words).said


def test_a_machine_whose_security_group_lets_nobody_in_is_terminated(site):
    closed = site.make_group("shut")
    words = ("--subnet", site.public, "--security-group", closed, "--boot-timeout", "3s")
    up = site.laptop.type("up", "site", "--dry-run", *words)
    assert up.code == 1, up.said
    assert site.machines("site") == []


def test_subnets_that_cannot_be_used_are_refused_with_the_reason(site):
    default = site.watch.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    mixed = site.plan("--subnet", site.public, "--subnet", default["SubnetId"])
    assert (mixed.code, "the subnets are in several VPCs" in mixed.err) == (2, True), mixed.said
    closed = site.plan("--subnet", site.private)
    assert f"{site.private} has no route to an internet gateway" in closed.err
    gone = site.plan("--subnet", "subnet-0123456789abcdef0")
    assert "subnet-0123456789abcdef0 not found in us-east-1" in gone.err
    assert "is not a subnet ID" in site.plan("--subnet", "front").err
    elsewhere = site.plan("--subnet", site.public, "--security-group", site.make_group("other", vpc=default["VpcId"]))
    assert f"is in {default['VpcId']}, but the subnets are in {site.vpc}" in elsewhere.err


def test_without_permission_to_read_routes_a_named_subnet_is_used_as_it_is(site):
    cloud = site.watch.cloud
    control.add_faults(cloud, "denied=ec2:DescribeRouteTables")
    try:
        [choice] = site.plan("--subnet", site.private)["choices"]
    finally:
        control.clear_faults(cloud)
    assert [one["public"] for one in choice["subnets"]] == [None]


@pytest.fixture(scope="module")
def jump(site: Site) -> str:
    """A machine in the public subnet that leads to the private one, by its name in the ssh config."""
    up = site.laptop.type("up", "bastion", "--dry-run", "--subnet", site.public)
    assert up.code == 0, up.said
    assert site.laptop.type("ssh-config", "--yes").code == 0
    return "gpujob-bastion"


def test_a_private_machine_is_used_through_a_jump_host_by_every_command(site, jump):
    laptop = site.laptop
    laptop.write("train.py", "open('out.txt', 'w').write('trained')\n")
    up = laptop.type("up", "deep", "--dry-run", "--subnet", site.private, "--private", "--proxy-jump", jump)
    assert up.code == 0, up.said
    said = " ".join(up.said.split())
    assert f"private address only, reached through {jump}; port 22 open only to 10.20.0.0/16" in said
    assert "IP address" not in said
    [machine] = site.machines("deep")
    assert "PublicIpAddress" not in machine
    run = laptop.type("run", "--cluster", "deep", "train.py")
    assert run.code == 0, run.said
    assert [one.read_text() for one in laptop.project.glob("runs/**/out.txt")] == ["trained"]
    assert laptop.type("ssh", "deep", "--", "echo in there").out == "in there\n"
    plain = subprocess.run(
        ["ssh", "gpujob-deep", "echo by ssh"], env=laptop.environment, capture_output=True, text=True, check=False
    )
    assert plain.stdout == "by ssh\n", plain.stderr
    down = laptop.type("down", "deep", "--dry-run")
    assert down.code == 0, down.said


def test_a_private_machine_that_nothing_leads_to_is_terminated_and_the_way_is_named(site):
    words = ("--subnet", site.private, "--private", "--boot-timeout", "3s")
    up = site.laptop.type("up", "alone", "--dry-run", *words)
    assert (up.code, ", a private address" in up.err) == (1, True), up.said
    assert site.machines("alone") == []


def test_a_private_machine_is_reached_over_a_vpn(site):
    control.add_faults(site.watch.cloud, "vpn")
    try:
        up = site.laptop.type("up", "inside", "--dry-run", "--subnet", site.private, "--private")
        assert up.code == 0, up.said
        assert site.laptop.type("ssh", "inside", "--", "echo in there").out == "in there\n"
        assert site.laptop.type("down", "inside", "--dry-run").code == 0
    finally:
        control.clear_faults(site.watch.cloud)


def test_a_jump_host_that_is_not_known_ends_the_launch_at_once(site, jump):
    [machine] = site.machines("bastion")
    port = next(tag["Value"] for tag in machine["Tags"] if tag["Key"] == "gpujob:endpoint").partition(":")[2]
    words = ("--subnet", site.private, "--private", "--proxy-jump", f"nobody@127.0.0.1:{port}")
    up = site.laptop.type("up", "alone", "--dry-run", *words)
    assert (up.code, f"cannot use the jump host nobody@127.0.0.1:{port}: " in up.err) == (1, True), up.said
    assert f"this must work without a question: ssh nobody@127.0.0.1 -p {port}" in up.err
    assert site.machines("alone") == []


@pytest.mark.parametrize("jump", ["-oProxyCommand=id", "a b", "host;id", "a@b@c", "$(id)", "host:port", "%h"])
def test_a_jump_host_that_a_shell_could_read_otherwise_is_refused(site, jump):
    refused = site.plan("--private", f"--proxy-jump={jump}")
    assert (refused.code, "is not [USER@]HOST[:PORT]" in refused.err) == (2, True), refused.said


def test_a_jump_host_without_a_private_address_is_refused_with_the_command(site, jump):
    refused = site.laptop.type("up", "deep", "--dry-run", "--proxy-jump", jump)
    assert f"next: gpujob up deep --dry-run --proxy-jump {jump} --private\n" in refused.err


def test_the_user_s_tags_are_on_everything_that_is_created_and_on_images_of_it(site):
    laptop, tags = site.laptop, {"team": "vision", "cost center": "4711"}
    words = [word for key, value in tags.items() for word in ("--tag", f"{key}={value}")]
    up = laptop.type("up", "tagged", "--dry-run", "--subnet", site.public, *words)
    assert up.code == 0, up.said
    assert "team=vision, cost center=4711" in up.said
    assert laptop.type("bake", "tagged", "--as", "tagged", "--yes").code == 0
    ec2, ours = site.watch.ec2, [{"Name": f"tag:{CLUSTER_TAG}", "Values": ["tagged"]}]
    found = [one for kind in LISTINGS if kind != "instances" for one in site.watch.listing(kind, ours)]
    found += site.machines("tagged")
    baked = [{"Name": f"tag:{IMAGE_TAG}", "Values": ["tagged"]}]
    found += ec2.describe_images(Filters=baked)["Images"] + ec2.describe_snapshots(Filters=baked)["Snapshots"]
    assert len(found) >= 8
    for one in found:
        assert tags.items() <= read_tags(one).items(), one
    [launch] = [one for one in control.read_trail(site.watch.cloud) if one["action"] == "CreateFleet"][-1:]
    assert "cost center" in launch["params"].values()
    assert laptop.type("images", "rm", "tagged", "--yes").code == 0
    assert laptop.type("down", "tagged", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--tag", "gpujob:owner=me"], "keys with gpujob: are gpujob's own"),
        (["--tag", "AWS:x=y"], "keys with aws: are AWS's own"),
        (["--tag", f"{'k' * 129}=v"], "a key has 1 to 128 letters"),
        (["--tag", f"k={'v' * 257}"], "a value at most 256"),
        (["--tag", "=v"], "a key has 1 to 128 letters"),
        (["--tag", "k=a\nb"], "use letters, digits, spaces"),
        (["--tag", "team"], "is not KEY=VALUE"),
        (["--tag", "a=1", "--tag", "a=2"], "the tag 'a' has two values"),
        ([word for number in range(31) for word in ("--tag", f"k{number}=v")], "31 tags are too many"),
    ],
)
def test_tags_that_aws_or_gpujob_would_refuse_are_refused_before_anything_is_created(site, words, why):
    refused = site.plan(*words)
    assert (refused.code, why in " ".join(refused.err.split())) == (2, True), refused.said


def test_a_machine_of_amazon_linux_has_the_role_the_key_and_the_network_that_were_asked_for(site):
    laptop, iam = site.laptop, client(site.watch.cloud, "iam")
    iam.create_role(RoleName="gpujob-reader", AssumeRolePolicyDocument="{}")
    profile = iam.create_instance_profile(InstanceProfileName="reader")["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName="reader", RoleName="gpujob-reader")
    key = client(site.watch.cloud, "kms").create_key()["KeyMetadata"]["KeyId"]
    words = ("--subnet", site.public, "--ssh-from", "127.0.0.0/8", "--instance-profile", "reader", "--kms-key", key)
    up = laptop.type("up", "odd", "--dry-run", "--image", "dlami-al2023", *words)
    assert up.code == 0, up.said
    said = " ".join(up.said.split())
    assert f"encrypted with {key}; with the role of reader; login as ec2-user" in said
    assert "port 22 open only to 127.0.0.0/8" in said
    [machine] = site.machines("odd")
    assert machine["IamInstanceProfile"]["Arn"] == profile
    assert laptop.type("ssh", "odd", "--", "echo $USER").out == "ec2-user\n"
    needs = [need for one in control.read_trail(site.watch.cloud) for need in one["needs"]]
    [passed] = {need["resource"]: need for need in needs if need["action"] == "iam:PassRole"}.values()
    assert policies.is_allowed(make_policy(), Need(**passed), {})
    assert not policies.is_allowed(make_policy(), Need(**passed | {"resource": "arn:aws:iam::1:role/admin"}), {})
    assert not policies.is_allowed(make_policy(), Need(**passed | {"passed_to": "lambda.amazonaws.com"}), {})
    assert laptop.type("down", "odd", "--dry-run").code == 0


def test_a_profile_or_a_key_that_does_not_exist_is_named_and_nothing_is_left(site):
    gone = site.laptop.type("up", "odd", "--dry-run", "--subnet", site.public, "--instance-profile", "nobody")
    assert (gone.code, "Value (nobody) for parameter iamInstanceProfile.name is invalid" in gone.err) == (1, True), (
        gone.said
    )
    lost = site.laptop.type("up", "odd", "--dry-run", "--subnet", site.public, "--kms-key", "alias/none")
    assert (lost.code, "if its disk has a KMS key of yours" in lost.err) == (1, True), lost.said
    assert site.machines("odd") == []


@pytest.mark.parametrize(
    "words",
    [
        ("--ssh-from", "203.0.113.7/24"),
        ("--ssh-from", "anywhere"),
        ("--instance-profile", "a b"),
        ("--kms-key", "key;"),
        ("--login-user", "-oX"),
        ("--ssh-from", "203.0.113.0/24", "--security-group", "sg-0123456789abcdef0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(site, words):
    refused = site.plan(*words)
    assert refused.code == 2, refused.said


def test_without_a_default_vpc_the_usable_subnets_are_listed_and_one_is_suggested(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    ec2 = watch(laptop).ec2
    for subnet in ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    none = laptop.type("up", "--dry-run", "--plan")
    assert "next: aws ec2 create-default-vpc --region us-east-1" in none.err, none.said
    vpc, front, back = make_network(ec2)
    listed = laptop.type("up", "--dry-run", "--plan")
    assert listed.code == 1
    assert f"{front} front us-east-1a, public, {vpc}" in listed.err
    assert f"{back} back us-east-1a, private, {vpc}" in listed.err
    assert f"next: gpujob up --dry-run --plan --subnet {front}\n" in listed.err
    planned = laptop.type("up", "--dry-run", "--plan", "--subnet", front)
    assert planned.code == 0, planned.said
