"""What the EC2 part makes of AWS's answers."""

import json
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from infra import errors
from infra.checks.account import run_checks
from infra.ec2.account import Account
from infra.ec2.denials import decode_denial
from infra.ec2.errors import aws_errors, classify
from infra.ec2.machines.instances import find_clusters, find_end, find_launched
from infra.ec2.machines.lease import SHUTDOWN_S, make_lease
from infra.ec2.machines.removal import find_remains, remove_cluster
from infra.ec2.machines.userdata import make_user_data
from infra.ec2.market.prices import read_prices
from infra.ec2.network.groups import find_addresses, make_rule, open_group, update_address
from infra.ec2.tags import CLUSTER_TAG, LAUNCH_TAG, format_time, parse_time, tag_specification
from infra.local.machine.userdata import lease_end_s
from infra.model import Gpu, LaunchRequest, Lease, Offer
from infra.ssh.keys import make_key
from tests.mocked import mocked_aws


def offer(price_usd: float = 0.5, **prices: float) -> Offer:
    zones = prices or {"us-east-1a": price_usd}
    return Offer("g4dn.xlarge", "us-east-1", "on-demand", zones, Gpu("T4"), 16, 4, 16, 125, "Up to 25 Gigabit")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UnauthorizedOperation", errors.PermissionsError),
        ("AccessDeniedException", errors.PermissionsError),
        ("ExpiredToken", errors.CredentialsError),
        ("ExpiredTokenException", errors.CredentialsError),
        ("AuthFailure", errors.CredentialsError),
        ("InvalidClientTokenId", errors.CredentialsError),
        ("UnrecognizedClientException", errors.CredentialsError),
        ("InsufficientInstanceCapacity", errors.CapacityError),
        ("Unsupported", errors.PlaceError),
        ("VcpuLimitExceeded", errors.QuotaError),
        ("MaxSpotInstanceCountExceeded", errors.QuotaError),
        ("RequestExpired", errors.CredentialsError),
        ("UnfulfillableCapacity", errors.CapacityError),
        ("InsufficientFreeAddressesInSubnet", errors.CapacityError),
        ("InstanceLimitExceeded", errors.QuotaError),
        ("RequestLimitExceeded", errors.ThrottledError),
        ("ThrottlingException", errors.ThrottledError),
        ("OptInRequired", errors.SubscriptionError),
        ("PendingVerification", errors.SubscriptionError),
        ("InvalidParameterValue", errors.ParameterError),
        ("UnsupportedOperation", errors.ParameterError),
        ("IdempotentParameterMismatch", errors.ParameterError),
        ("InternalError", errors.CloudError),
    ],
)
def test_aws_s_codes_become_our_errors_with_something_to_type(code, expected):
    with pytest.raises(errors.CloudError) as caught, aws_errors():
        raise ClientError({"Error": {"Code": code, "Message": "said AWS"}}, "RunInstances")
    assert type(caught.value) is expected
    assert "said AWS" in caught.value.what + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoCredentialsError(), errors.CredentialsError),
        (EndpointConnectionError(endpoint_url="https://x"), errors.CloudError),
        (ResponseParserError("not xml"), errors.CloudError),
    ],
)
def test_botocore_s_own_errors_become_ours(error, expected):
    with pytest.raises(expected) as caught, aws_errors():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "InternalError"}}, "GetCallerIdentity"),
        ClientError({"Error": {"Code": "503"}}, "GetCallerIdentity"),
        ClientError({"Error": {"Code": "NeverHeardOf"}}, "GetCallerIdentity"),
        ResponseParserError("invalid XML received:\n<!doctype html>"),
    ],
)
def test_a_check_that_aws_cannot_answer_does_not_send_back_to_itself(error):
    def ask() -> Account:
        with aws_errors():
            raise error

    [check] = run_checks(ask, LaunchRequest())
    assert "https://health.aws.amazon.com" in check.fix
    assert "html" not in check.detail


def test_a_bug_is_no_cloud_error():
    with pytest.raises(ZeroDivisionError), aws_errors():
        1 / 0  # noqa: B018


def test_a_denial_names_the_action_and_is_decoded_where_that_is_allowed():
    words = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/u is not authorized to perform:"
        " ec2:RunInstances on resource: arn:aws:ec2:us-east-1:1:instance/*. Encoded authorization failure message: aBc-1_2"
    )
    error = classify("UnauthorizedOperation", words, "CreateFleet")
    assert isinstance(error, errors.PermissionsError)
    assert "ec2:RunInstances" in error.what
    assert "aBc-1_2" not in error.what

    class Sts:
        def decode_authorization_message(self, EncodedMessage):  # noqa: N803  AWS's own word
            assert EncodedMessage == "aBc-1_2"
            context = {"action": "iam:PassRole", "resource": "arn:aws:iam::1:role/r"}
            return {"DecodedMessage": json.dumps({"explicitDeny": True, "context": context})}

    decoded = decode_denial(SimpleNamespace(sts=Sts()), error)
    assert "iam:PassRole on arn:aws:iam::1:role/r by an explicit deny" in decoded.what
    assert "iam:PassRole" in decoded.hint


def test_user_data_arms_the_lease_before_anything_else():
    until = datetime(2026, 11, 24, 17, 30, 1, tzinfo=UTC).timestamp()
    text = make_user_data(Lease(until, 6.0, idle_stop_s=1800, warning_s=120))
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert list(document) == ["bootcmd"]
    commands = document["bootcmd"]
    assert "systemctl poweroff" in commands[0][-1]
    assert commands[3] == ["/usr/local/sbin/gpujob-lease", "--boot", "2026-11-24 17:30:01 UTC"]
    assert "agent.pyz guard 1800 120" in commands[4][-1]
    assert lease_end_s(text) == until


def test_the_lease_command_of_the_user_data_arms_tells_moves_and_keeps_what_was_agreed_at_the_next_boot(tmp_path):
    """The script runs by a real shell, with systemctl as a stand-in that notes what it was told."""
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n')
    (tmp_path / "systemctl").chmod(0o755)
    script = yaml.safe_load(make_user_data(Lease(2e9, 1)))["bootcmd"][1][-1]
    command = tmp_path / "gpujob-lease"
    command.write_text(script.replace("/etc/systemd/system", str(tmp_path)))

    def lease(*words: str) -> str:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(
            ["sh", command, *words], env=environment, capture_output=True, check=True, text=True
        ).stdout

    lease("--boot", "2030-01-01 00:00:00 UTC")
    assert lease() == "1893456000\n"
    lease("2030-01-02 00:00:00 UTC")  # extended
    lease("--boot", "2030-01-01 00:00:00 UTC")  # and booted again with the old user data
    assert lease() == "1893542400\n"
    assert "OnCalendar=2030-01-02 00:00:00 UTC\n" in (tmp_path / "gpujob-lease.timer").read_text()
    lease("--boot", "2029-01-01 00:00:00 UTC")  # started under a new lease
    assert lease() == "1861920000\n"
    told = (tmp_path / "told").read_text()
    assert told.count("restart --no-block gpujob-lease.timer") == 4
    assert "poweroff" not in told
    lease("--boot", "2020-01-01 00:00:00 UTC")  # booted after its end, when the timer need not fire
    assert (tmp_path / "told").read_text().endswith("poweroff --no-block\n")
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 3\n")  # as for a timer that is not active
    assert subprocess.run(["sh", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True).stdout == b""


def test_the_lease_s_price_covers_machine_disk_and_address_of_every_node_at_the_highest_price():
    request = LaunchRequest(nodes=2, max_hours=10, disk_gib=200)
    lease = make_lease([offer(0.4), offer(a=0.3, b=0.5)], request, 0.08, now=1000.0)
    assert lease.until == 1000 + 36_000
    assert lease.most_usd == pytest.approx(2 * (10 + SHUTDOWN_S / 3600) * (0.5 + 200 * 0.08 / 730 + 0.005))


def test_money_ends_a_lease_where_it_runs_out_before_the_hours_do():
    request = LaunchRequest(max_hours=100, max_cost_usd=5.0)
    lease = make_lease([offer(0.5)], request, 0.08, now=0.0)
    assert lease.most_usd == pytest.approx(5.0)
    assert lease.until == pytest.approx(3600 * 5.0 / (0.5 + 8 / 730 + 0.005) - SHUTDOWN_S)
    assert make_lease([offer(0.5)], LaunchRequest(max_hours=1, max_cost_usd=50), 0.08, now=0.0).until == 3600
    with pytest.raises(errors.UsageError, match=r"\$0.01 pays for 0.0 min"):
        make_lease([offer(0.5)], LaunchRequest(max_cost_usd=0.01), 0.08, now=0.0)


@given(st.integers(0, 2**33))
def test_a_time_survives_its_tag(seconds):
    assert parse_time(format_time(seconds)) == seconds


@given(st.text())
def test_a_damaged_tag_is_no_crash(text):
    assert isinstance(parse_time(text), float)


def test_prices_of_zero_and_other_units_do_not_count():
    def term(usd: str, unit: str) -> dict:
        return {"priceDimensions": {"r": {"unit": unit, "pricePerUnit": {"USD": usd}}}}

    product = {
        "terms": {"OnDemand": {"a": term("0.0000", "Hrs"), "b": term("1.006", "Hrs"), "c": term("5", "Quantity")}}
    }
    assert list(read_prices(json.loads(json.dumps(product)), "Hrs")) == [1.006]
    assert list(read_prices({}, "Hrs")) == []


@pytest.fixture
def account():
    """An account that moto keeps in this process."""
    with mocked_aws():
        yield Account("aws", boto3.Session("testing", "testing", region_name="us-east-1"))


def launch(account: Account, cluster: str, token: str) -> str:
    tags = {CLUSTER_TAG: cluster, LAUNCH_TAG: token}
    name = [{"Name": "name", "Values": ["amzn-ami-hvm-2017*"]}]
    image = account.ec2.describe_images(Owners=["amazon"], Filters=name)["Images"][0]["ImageId"]
    specification = [tag_specification("instance", tags), tag_specification("volume", tags)]
    answer = account.ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, KeyName=f"gpujob-{cluster}", TagSpecifications=specification
    )
    return answer["Instances"][0]["InstanceId"]


def test_a_terminated_machine_of_an_earlier_cluster_of_the_name_is_not_taken_for_the_new_one(account):
    old = launch(account, "demo", "old")
    account.ec2.terminate_instances(InstanceIds=[old])
    assert find_launched(account, "demo", ["i-0"]) == []  # the new one is not to be seen yet
    new = launch(account, "demo", "new")
    assert find_end(find_launched(account, "demo", [new])) == ""
    account.ec2.terminate_instances(InstanceIds=[new])
    assert find_end(find_launched(account, "demo", [new])) != ""


def test_giving_back_one_cluster_leaves_every_other_as_it_is(account):
    launch(account, "demo", "one")
    launch(account, "demo-2", "two")
    foreign = account.ec2.create_security_group(GroupName="gpujob-demo", Description="of somebody else")["GroupId"]
    account.ec2.import_key_pair(KeyName="gpujob-demo", PublicKeyMaterial=make_key()[1].encode())
    others = find_remains(account, "demo-2")
    assert remove_cluster(account, "demo", lambda _: None) is True
    assert remove_cluster(account, "demo", lambda _: None) is False
    assert find_remains(account, "demo-2") == others
    assert [cluster.name for cluster in find_clusters(account)] == ["demo-2"]
    assert account.ec2.describe_security_groups(GroupIds=[foreign])["SecurityGroups"]
    assert account.ec2.describe_key_pairs(KeyNames=["gpujob-demo"])["KeyPairs"]


def test_a_new_address_of_the_laptop_takes_the_old_one_s_place_and_leaves_other_rules(account, monkeypatch):
    tags = [tag_specification("security-group", {CLUSTER_TAG: "demo"})]
    name = {"GroupName": "gpujob-demo", "Description": "demo", "TagSpecifications": tags}
    group = account.ec2.create_security_group(**name)["GroupId"]
    open_group(account, group, [make_rule("203.0.113.7/32")], nodes=2)
    own = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.0/24"}]}
    account.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[own])
    monkeypatch.setattr("infra.ec2.network.groups.find_caller_address", lambda _: "203.0.113.9/32")
    assert update_address(account, "demo") == "203.0.113.9/32"
    assert update_address(account, "demo") is None
    [found] = account.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert find_addresses(found) == {"203.0.113.9/32"}
    ranges = {r["CidrIp"] for p in found["IpPermissions"] for r in p["IpRanges"]}
    assert ranges == {"203.0.113.9/32", "198.51.100.0/24"}
    [internal] = [p for p in found["IpPermissions"] if p["IpProtocol"] == "-1"]
    assert [pair["GroupId"] for pair in internal["UserIdGroupPairs"]] == [group]
    assert make_rule("2001:db8::7/128")["Ipv6Ranges"][0]["CidrIpv6"] == "2001:db8::7/128"
