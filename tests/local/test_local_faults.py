"""What the local cloud gets wrong when it is told to, each in the way that AWS does."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import paramiko
import pytest
from botocore.exceptions import ClientError

from infra.errors import UsageError
from infra.local.cloud.faults import VOCABULARY, parse
from infra.local.cloud.server import control
from tests import local_cloud_fixtures as fixtures
from tests.local.test_local_fleet import fleet, launched, make_template
from tests.local_cloud_fixtures import World, client, eventually

folder, shared = fixtures.folder, fixtures.shared


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The module's cloud, without faults before and after."""
    yield shared
    control.clear_faults(shared.cloud)


@pytest.fixture(scope="module")
def template(shared: World) -> str:
    return make_template(shared)


def fail(call: Any, **words: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**words)
    return caught.value.response["Error"]["Code"]


EXAMPLES = ["no-capacity=g5.*@us-east-1a", "quota=0", "partial=1", "throttle=30:7", "errors=5", "latency=100", "expired-after=3",
            "denied=ec2:RunInstances", "kill=1:2:before", "boot=5", "dies=0.5", "invisible=2", "console=60", "mute", "drop=1000",
            "foreign=1000", "interrupt=120", "closed=eu-west-2", "enabled=eu-west-1", "sessions",
            "unsettled=1", "no-spot-role", "unarmed", "unarmable", "unfinished",
            "slow=eu-west-1:60", "vpn", "spot-moves=0.5", "reserved=payment-failed", "scores=eu-west-1:9",
            "released", "freeze=1", "clock=+3600", "fresh-profiles=5", "role-expires=60", "busy=100"]  # fmt: skip


def test_every_word_can_be_said_and_every_other_is_refused_with_what_would_fit():
    assert {parse(text).word for text in EXAMPLES} == set(VOCABULARY)
    assert [str(parse(text)) for text in EXAMPLES] == EXAMPLES
    for text in ("nonsense", "boot", "boot=soon", "mute=1", "throttle=101", "kill=1:2:during", ""):
        with pytest.raises(ValueError, match=r"fault|invalid value|takes no value"):
            parse(text)


def test_faults_hold_until_they_are_cleared_and_the_latest_of_a_kind_counts(world):
    assert control.add_faults(world.cloud, "quota=1", "denied=ec2:A", "denied=ec2:B") != []
    assert control.add_faults(world.cloud, "quota=2") == ["denied=ec2:A", "denied=ec2:B", "quota=2"]
    with pytest.raises(UsageError, match="no fault 'x'"):
        control.add_faults(world.cloud, "x")
    control.clear_faults(world.cloud)
    assert control.list_faults(world.cloud) == []


def test_another_key_can_set_no_fault(world):
    request = urllib.request.Request(world.cloud.url + control.FAULTS, b'["quota=0"]', {control.KEY: "ANOTHER"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
    assert control.list_faults(world.cloud) == []


def test_no_capacity_in_a_zone_moves_a_fleet_to_the_next_and_none_anywhere_leaves_it_empty(world, template):
    control.add_faults(world.cloud, "no-capacity=g5.xlarge@us-east-1b")
    answer = fleet(world, ("g5.xlarge", "b"), ("g5.xlarge", "c"))
    assert answer["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    assert answer["Errors"][0]["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "g5.xlarge"
    assert len(launched(answer)) == 1
    control.add_faults(world.cloud, "no-capacity=*")
    answer = fleet(world, ("g5.xlarge", "b"), ("g5.xlarge", "c"), spot=True)
    assert [one["ErrorCode"] for one in answer["Errors"]] == ["InsufficientInstanceCapacity"] * 2
    assert answer["Instances"] == []
    assert fail(world.ec2.run_instances, **world.request()) == "InsufficientInstanceCapacity"


def test_a_quota_of_zero_is_told_and_enforced(world, template):
    control.add_faults(world.cloud, "quota=0")
    quotas = client(world.cloud, "service-quotas")
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]["Value"] == 0
    assert fleet(world, ("g5.xlarge", "b"))["Errors"][0]["ErrorCode"] == "VcpuLimitExceeded"
    assert fleet(world, ("g5.xlarge", "b"), spot=True)["Errors"][0]["ErrorCode"] == "MaxSpotInstanceCountExceeded"


def test_a_fleet_can_be_partial(world, template):
    control.add_faults(world.cloud, "partial=1")
    answer = fleet(world, ("g5.xlarge", "b"), ("g5.xlarge", "c"), count=2)
    assert len(launched(answer)) == 1
    assert {one["ErrorCode"] for one in answer["Errors"]} == {"InsufficientInstanceCapacity"}


@pytest.mark.parametrize(("word", "code"), [("throttle", "RequestLimitExceeded"), ("errors", "InternalError")])
def test_a_share_of_the_calls_fails_the_same_each_time(world, word, code):
    def throw() -> list[bool]:
        control.clear_faults(world.cloud)
        control.add_faults(world.cloud, f"{word}=30:5")
        return [succeeds() for _ in range(40)]

    def succeeds() -> bool:
        try:
            world.ec2.describe_vpcs()
        except ClientError as error:
            assert error.response["Error"]["Code"] == code
            return False
        return True

    first = throw()
    assert 5 <= first.count(False) <= 20
    assert throw() == first


def test_a_call_takes_as_long_as_it_is_told(world):
    control.add_faults(world.cloud, "latency=300")
    began = time.monotonic()
    world.ec2.describe_vpcs()
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("ec2", lambda c: c.describe_vpcs, "RequestExpired"),
        ("sts", lambda c: c.get_caller_identity, "ExpiredToken"),
        ("ssm", lambda c: c.describe_parameters, "ExpiredTokenException"),
    ],
)
def test_credentials_expire_after_so_many_calls(world, service, call, code):
    control.add_faults(world.cloud, "expired-after=2")
    asked = call(client(world.cloud, service))
    assert asked() and asked()
    assert fail(asked) == code


def test_credentials_expire_after_a_call_that_is_named(world):
    control.add_faults(world.cloud, "expired-after=DescribeVpcs")
    assert world.ec2.describe_subnets()
    assert world.ec2.describe_vpcs()
    assert fail(world.ec2.describe_subnets) == "RequestExpired"


def test_a_missing_permission_is_named_and_its_encoded_message_can_be_decoded(world, template):
    control.add_faults(world.cloud, "denied=ec2:RunInstances", "denied=servicequotas:GetServiceQuota")
    refused = fleet(world, ("g5.xlarge", "b"))["Errors"][0]
    assert refused["ErrorCode"] == "UnauthorizedOperation"
    assert "not authorized to perform: ec2:RunInstances" in refused["ErrorMessage"]
    encoded = refused["ErrorMessage"].rpartition("failure message: ")[2]
    decoded = client(world.cloud, "sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"]
    assert json.loads(decoded)["context"]["action"] == "ec2:RunInstances"
    assert fail(client(world.cloud, "sts").decode_authorization_message, EncodedMessage="x") != ""
    quota = client(world.cloud, "service-quotas").get_service_quota
    assert fail(quota, ServiceCode="ec2", QuotaCode="L-DB2E81BA") == "AccessDeniedException"


def test_a_dry_run_says_whether_the_call_would_be_allowed_and_changes_nothing(world):
    before = world.ec2.describe_security_groups()["SecurityGroups"]
    words = {"GroupName": "rehearsed", "Description": "never made", "DryRun": True}
    assert fail(world.ec2.create_security_group, **words) == "DryRunOperation"
    assert fail(world.ec2.run_instances, **world.request(DryRun=True)) == "DryRunOperation"
    control.add_faults(world.cloud, "denied=ec2:CreateSecurityGroup")
    assert fail(world.ec2.create_security_group, **words) == "UnauthorizedOperation"
    assert world.ec2.describe_security_groups()["SecurityGroups"] == before


KILLED = """
import boto3, sys
from botocore.config import Config
sys.stdin.readline()
keys = dict(aws_access_key_id=sys.argv[2], aws_secret_access_key="any")
ec2 = boto3.client("ec2", "us-east-1", endpoint_url=sys.argv[1], config=Config(proxies={}), **keys)
for number in range(1, 5):
    ec2.create_security_group(GroupName=f"{sys.argv[3]}-{number}", Description="by a process that is killed")
"""


@pytest.mark.parametrize(
    ("call", "made"), [("2:before", 1), ("2:after", 2), ("CreateSecurityGroup.3:before", 2), ("DeleteVpc:after", 4)]
)
def test_a_process_is_killed_before_or_after_a_call_of_its_own(world, call, made):
    name = f"killed-{made}-{call[-5:]}"
    words = [sys.executable, "-c", KILLED, world.cloud.url, world.cloud.access_key, name]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, text=True)
    control.add_faults(world.cloud, f"kill={process.pid}:{call}", f"kill={os.getpid()}:1:before")
    process.communicate("\n")
    assert process.returncode == (0 if made == 4 else -9)
    control.clear_faults(world.cloud)
    groups = {
        one["GroupName"] for one in world.ec2.describe_security_groups()["SecurityGroups"] if name in one["GroupName"]
    }
    assert len(groups) == made


def test_a_machine_boots_as_slowly_as_it_is_told(world):
    control.add_faults(world.cloud, "boot=4")
    began = time.monotonic()
    machine = world.launch()
    assert machine.state() == "pending"
    eventually(lambda: machine.state() == "running")
    assert machine.port()
    assert time.monotonic() - began >= 4


def test_a_machine_can_die_while_it_boots(world):
    control.add_faults(world.cloud, "boot=60", "dies=0.2")
    machine = world.launch()
    eventually(lambda: machine.state() == "terminated")
    assert machine.describe()["StateReason"]["Code"] == "Server.InternalError"


def test_a_new_instance_is_denied_for_a_while(world):
    def listed() -> set[str]:
        found = world.ec2.describe_instances()["Reservations"]
        return {one["InstanceId"] for entry in found for one in entry["Instances"]}

    control.add_faults(world.cloud, "invisible=6")
    elder = world.launch().id
    eventually(lambda: elder in listed())
    instance_id = world.ec2.run_instances(**world.request())["Instances"][0]["InstanceId"]
    assert fail(world.ec2.describe_instances, InstanceIds=[instance_id]) == "InvalidInstanceID.NotFound"
    assert fail(world.ec2.terminate_instances, InstanceIds=[instance_id]) == "InvalidInstanceID.NotFound"
    found = listed()
    assert elder in found and instance_id not in found
    eventually(lambda: instance_id in listed())
    assert world.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]


def test_the_console_stays_empty_for_a_while(world):
    control.add_faults(world.cloud, "console=2")
    machine = world.launch()
    began = time.monotonic()
    assert machine.port()
    eventually(lambda: "SSH HOST KEY" in world.ec2.get_console_output(InstanceId=machine.id).get("Output", ""))
    assert time.monotonic() - began >= 1.5


def test_an_ssh_server_can_be_mute(world):
    control.add_faults(world.cloud, "mute")
    machine = world.launch()
    transport = paramiko.Transport(("127.0.0.1", machine.port()))
    transport.banner_timeout = 1
    with pytest.raises(paramiko.SSHException, match="banner"):
        transport.start_client(timeout=90)
    transport.close()


def test_a_connection_can_break_after_so_many_bytes(world):
    control.add_faults(world.cloud, "drop=200000")
    machine = world.launch()
    assert machine.run("echo whole")[1] == b"whole\n"
    with machine.connect() as connection:
        _, out, _ = connection.exec_command("head -c 1000000 /dev/zero")
        assert 0 < len(out.read()) < 300_000
        eventually(lambda: not connection.get_transport().is_active())


def test_instances_of_others_fill_pages_and_never_show_under_a_filter(world):
    mine = world.launch(
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "gpujob:cluster", "Value": "one-page"}]}]
    )
    own = len(world.ec2.describe_instances()["Reservations"])
    control.add_faults(world.cloud, "foreign=600")
    pages = list(world.ec2.get_paginator("describe_instances").paginate())
    assert len(pages) >= 4
    found = [one["Instances"][0] for page in pages for one in page["Reservations"]]
    assert len({one["InstanceId"] for one in found}) == 600 + own
    ours = [{"Name": "tag:gpujob:cluster", "Values": ["one-page"]}]
    first = world.ec2.describe_instances(Filters=ours)
    assert first["Reservations"] == []
    assert first["NextToken"], "a page may be empty and yet not the last"
    pages = world.ec2.get_paginator("describe_instances").paginate(Filters=ours)
    assert [one["Instances"][0]["InstanceId"] for page in pages for one in page["Reservations"]] == [mine.id]
    assert mine.describe()["InstanceId"] == mine.id


def test_a_spot_machine_gets_notice_by_its_metadata_and_then_ends(world, template):
    (instance_id,) = launched(fleet(world, ("g5.xlarge", "b"), spot=True))
    machine = fixtures.Machine(world, instance_id)
    ttl, token = "X-aws-ec2-metadata-token-ttl-seconds: 60", "X-aws-ec2-metadata-token"
    ask = (
        f"M=${{AWS_EC2_METADATA_SERVICE_ENDPOINT}}latest; T=$(curl -s -X PUT -H '{ttl}' $M/api/token);"
        f" curl -s -o body -w '%{{http_code}} ' -H \"{token}: $T\" $M/meta-data/WHAT; cat body"
    )
    without_token = ask.replace(token + ":", "X-other:").replace("WHAT", "instance-id")
    assert machine.run(ask.replace("WHAT", "instance-id"))[1].decode() == f"200 {instance_id}"
    assert machine.run(ask.replace("WHAT", "spot/instance-action"))[1].startswith(b"404")
    assert machine.run(without_token)[1].startswith(b"401")
    control.add_faults(world.cloud, "interrupt=5")
    notice = eventually(
        lambda: (said := machine.run(ask.replace("WHAT", "spot/instance-action"))[1])[:3] == b"200" and said
    )
    assert json.loads(notice[4:])["action"] == "terminate"
    eventually(lambda: machine.state() == "terminated")
    assert machine.describe()["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_the_trail_tells_each_call_with_what_it_needs(world, template):
    control.clear_trail(world.cloud)
    fleet(world, ("g5.xlarge", "b"))
    events = {event["action"]: event for event in control.read_trail(world.cloud)}
    assert {"CreateFleet", "RunInstances"} <= set(events)
    needs = {(need["action"], need["resource"].split(":")[5].split("/")[0]) for need in events["RunInstances"]["needs"]}
    assert {
        ("ec2:RunInstances", "instance"),
        ("ec2:RunInstances", "security-group"),
        ("ec2:CreateTags", "volume"),
    } <= needs


def test_an_account_has_only_the_regions_that_are_enabled(world):
    control.add_faults(world.cloud, "enabled=us-east-1", "enabled=eu-west-1")
    assert {one["RegionName"] for one in world.ec2.describe_regions()["Regions"]} == {"us-east-1", "eu-west-1"}
    assert client(world.cloud, "ec2", "eu-west-1").describe_instances()["Reservations"] == []
    for service, ask in (("ec2", "describe_instances"), ("sts", "get_caller_identity")):
        with pytest.raises(ClientError, match=r"AuthFailure|InvalidClientTokenId"):
            getattr(client(world.cloud, service, "eu-west-2"), ask)()


def test_s3_refuses_what_arrives_changed_what_is_denied_and_what_is_too_much(world: World):
    from infra.node.agent.aws.credentials import Kept
    from infra.node.agent.aws.s3 import open_bucket
    from infra.node.agent.aws.signing import Credentials
    from infra.node.agent.aws.wire import ChangedError, NotThereError, S3Error

    client(world.cloud, "s3").create_bucket(Bucket="b-faults")
    about = {"name": "b-faults", "region": "us-east-1", "owner": "123456789012", "endpoint": world.cloud.url}
    bucket = open_bucket(about, Kept(lambda: Credentials(world.cloud.access_key, "local")), patience_s=1)
    bucket.put("c/t/x", b"content")
    with pytest.raises(ChangedError):
        bucket.put("c/t/x", b"other", sha256="0" * 64)
    assert bucket.get("c/t/x")[0] == b"content"
    control.add_faults(world.cloud, "denied=s3:PutObject")
    with pytest.raises(S3Error, match="AccessDenied"):
        bucket.put("c/t/y", b"content")
    assert bucket.get("c/t/x")[0] == b"content"
    control.clear_faults(world.cloud)
    control.add_faults(world.cloud, "busy=100")
    with pytest.raises(S3Error, match="SlowDown"):
        bucket.put("c/t/y", b"content")
    control.clear_faults(world.cloud)
    bucket.delete("c/t/x")
    client(world.cloud, "s3").delete_bucket(Bucket="b-faults")
    with pytest.raises(NotThereError, match="NoSuchBucket"):
        bucket.put("c/t/y", b"content")
