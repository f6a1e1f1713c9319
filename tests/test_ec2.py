"""What the EC2 part makes of AWS's answers."""

import json
from datetime import UTC, datetime

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from infra import errors
from infra.ec2.account import Account, aws_errors
from infra.ec2.instances import CLUSTER_TAG, LAUNCH_TAG, find_clusters, find_end, format_time, parse_time
from infra.ec2.lease import make_lease, make_user_data
from infra.ec2.network import tag_specification
from infra.ec2.offers import read_prices
from infra.ec2.removal import find_remains, remove_cluster
from infra.model import Gpu, Lease, Offer
from infra.ssh.keys import make_key

OFFER = Offer("g4dn.xlarge", Gpu("T4"), 16, 4, 16, 0.5, ("us-east-1a",))


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
        ("Unsupported", errors.CapacityError),
        ("VcpuLimitExceeded", errors.QuotaError),
        ("MaxSpotInstanceCountExceeded", errors.QuotaError),
        ("RequestLimitExceeded", errors.CloudError),
        ("InvalidParameterValue", errors.CloudError),
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


def test_a_bug_is_no_cloud_error():
    with pytest.raises(ZeroDivisionError), aws_errors():
        1 / 0  # noqa: B018


def test_user_data_arms_the_lease_before_anything_else():
    until = datetime(2026, 11, 24, 17, 30, 1, tzinfo=UTC).timestamp()
    text = make_user_data(Lease(until, 6.0))
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert list(document) == ["bootcmd"]
    commands = document["bootcmd"]
    assert "OnCalendar=2026-11-24 17:30:01 UTC\n" in commands[1][-1]
    assert "systemctl poweroff" in commands[0][-1]
    assert commands[-1] == ["systemctl", "start", "--no-block", "gpujob-lease.timer"]


def test_the_lease_s_price_covers_machine_disk_and_address():
    lease = make_lease(OFFER, 10, now=1000.0)
    assert lease.until == 1000 + 36_000
    assert lease.most_usd == pytest.approx(10 * (0.5 + 100 * 0.08 / 730 + 0.005))


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
    assert list(read_prices(json.loads(json.dumps(product)))) == [1.006]
    assert list(read_prices({})) == []


@pytest.fixture
def account():
    """An account that moto keeps in this process."""
    with mock_aws():
        yield Account("aws", boto3.Session("testing", "testing", region_name="us-east-1"))


def launch(account: Account, cluster: str, token: str) -> str:
    tags = {CLUSTER_TAG: cluster, LAUNCH_TAG: token}
    image = account.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    specification = [tag_specification("instance", tags), tag_specification("volume", tags)]
    answer = account.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
    return answer["Instances"][0]["InstanceId"]


def test_a_terminated_machine_of_an_earlier_cluster_of_the_name_is_not_taken_for_the_new_one(account):
    old = launch(account, "demo", "old")
    account.ec2.terminate_instances(InstanceIds=[old])
    assert find_end(account, "demo", "new") == ""  # the new one is not to be seen yet
    new = launch(account, "demo", "new")
    assert find_end(account, "demo", "new") == ""
    account.ec2.terminate_instances(InstanceIds=[new])
    assert find_end(account, "demo", "new") != ""


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
