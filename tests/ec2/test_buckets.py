"""A bucket that is just being made: S3 knows it here and there, and another computer may make it at the same time."""

from collections.abc import Iterator

import boto3
import pytest

from infra.ec2.account import Account, Identity
from infra.ec2.storage import buckets
from infra.errors import ThrottledError
from tests import s3
from tests.s3 import KEYS, Proxy

proxy = s3.proxy
NAME = "gpujob-123456789012-us-east-1"


@pytest.fixture
def account(proxy: Proxy) -> Iterator[Account]:
    """An account without the bucket of `auto`."""
    proxy.faults.clear()
    proxy.seen.clear()
    yield Account("aws", boto3.Session(**KEYS), proxy.endpoint)
    proxy.rule = lambda method, path: ""


@pytest.mark.parametrize(
    ("call", "fault"), [("?publicAccessBlock", "404 NoSuchBucket 0"), ("?tagging", "409 OperationAborted 0")]
)
def test_a_bucket_that_s3_does_not_know_everywhere_yet_is_made_whole(
    account: Account, proxy: Proxy, call: str, fault: str
) -> None:
    refused = list[str]()

    def refuse(method: str, path: str) -> str:
        if method == "PUT" and path.endswith(call) and not refused:
            refused.append(path)
            return fault
        return ""

    proxy.rule = refuse
    assert buckets.ready_bucket(account, "auto") == NAME
    assert refused
    assert buckets.is_marked(account, NAME)
    assert all(account.s3.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"].values())
    account.s3.delete_bucket(Bucket=NAME)


def test_a_name_that_s3_has_not_released_yet_says_to_wait(
    account: Account, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "SETTLING_S", 0.5)
    proxy.rule = lambda method, path: "409 OperationAborted 0" if method == "PUT" else ""
    with pytest.raises(ThrottledError, match="busy with an earlier change") as refused:
        buckets.ready_bucket(account, "auto")
    assert "wait a minute" in refused.value.hint


def test_the_policy_of_a_bucket_names_it_as_its_part_of_aws_does(account: Account) -> None:
    account.__dict__["identity"] = Identity("123456789012", "arn:aws-us-gov:iam::123456789012:user/ann")
    assert buckets.ready_bucket(account, "auto") == NAME
    assert f"arn:aws-us-gov:s3:::{NAME}/*" in account.s3.get_bucket_policy(Bucket=NAME)["Policy"]
    account.s3.delete_bucket(Bucket=NAME)
