"""A bucket that is just being made: S3 knows it here and there, and another computer may make it at the same time."""

import io
from collections.abc import Iterator
from urllib.parse import urlsplit

import boto3
import pytest

from infra.ec2.account import Account, Identity
from infra.ec2.storage import buckets
from infra.ec2.storage.objects import Store
from infra.ec2.storage.policies import make_user_policy
from infra.ec2.storage.writing import put_file
from infra.errors import CloudError, ThrottledError
from infra.local.cloud.iam import permissions, policies, storage
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


def test_the_printed_policy_allows_all_that_an_upload_does_also_when_it_fails(account: Account, proxy: Proxy) -> None:
    account.s3.create_bucket(Bucket="gpujob-plain")
    store = Store(account, "gpujob-plain")
    assert store.target["ExpectedBucketOwner"]  # which asks STS
    proxy.seen.clear()
    proxy.rule = lambda method, path: "403 AccessDenied 0" if "partNumber=2" in path else ""
    with pytest.raises(CloudError, match="AccessDenied"):
        put_file(store, "c/t/pack", io.BytesIO(bytes(20 << 20)))
    assert any(one.startswith("DELETE") for one in proxy.seen)  # else its parts would be billed, and seen by no listing
    for method, asked in (one.split() for one in proxy.seen):
        path, query = urlsplit(asked).path, urlsplit(asked).query
        action, arns = storage.name_action({"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query})
        needs = [permissions.Need(f"s3:{action}", arn, {}, {}) for arn in arns]
        assert all(policies.is_allowed(make_user_policy(), need, {}) for need in needs), (method, asked)
    account.s3.delete_bucket(Bucket="gpujob-plain")
