"""What the EC2 part makes of AWS's answers."""

import json
from datetime import UTC, datetime

import pytest
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from infra import errors
from infra.ec2.account import aws_errors
from infra.ec2.instances import format_time, parse_time
from infra.ec2.lease import make_lease, make_user_data
from infra.ec2.offers import read_prices
from infra.model import Gpu, Lease, Offer

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
