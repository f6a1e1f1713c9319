"""A claim is held until another machine has it, whatever becomes of the answers of S3."""

from collections.abc import Iterator
from uuid import uuid4

import boto3
import pytest

from infra.node.agent.away.claims import Claim
from infra.node.agent.away.settings import Place, Times
from infra.node.agent.aws.credentials import Kept
from infra.node.agent.aws.s3 import open_bucket
from infra.node.agent.aws.signing import Credentials
from infra.node.agent.aws.wire import S3Error
from tests import s3
from tests.s3 import KEYS, Proxy

proxy = s3.proxy


@pytest.fixture
def place(proxy: Proxy) -> Iterator[Place]:
    """Where a machine reaches its bucket, and does not try again for long."""
    name = f"b-{uuid4()}"
    boto3.client("s3", endpoint_url=proxy.endpoint, **KEYS).create_bucket(Bucket=name)
    about = {"name": name, "region": "us-east-1", "owner": "123456789012", "endpoint": proxy.endpoint}
    bucket = open_bucket(about, Kept(lambda: Credentials("AKIDEXAMPLE", "secret")), patience_s=0)
    yield Place(bucket, "c/t/", "i-mine", "group", "us-east-1", proxy.endpoint, {})
    proxy.faults.clear()


def take(place: Place) -> Claim:
    """Write a claim, as a machine does for its first attempt."""
    content = {"machine": place.machine, "attempt": 1, "beat": 0}
    return Claim(place, 0, content, place.write(content, "tasks", 0, "claim", absent=True), Times())


def test_a_renewal_without_an_answer_loses_nothing_whether_or_not_s3_has_made_it(place: Place, proxy: Proxy) -> None:
    claim = take(place)
    for fault in ("drop-after", "drop"):
        proxy.faults[:] = [fault]
        with pytest.raises(S3Error):
            claim.renew()
        assert claim.renew() and not claim.lost
    assert place.read("tasks", 0, "claim")[0]["beat"] == 3


def test_a_claim_that_another_machine_has_is_lost_and_stays_as_it_is(place: Place, proxy: Proxy) -> None:
    claim = take(place)
    proxy.faults[:] = ["drop-after"]
    with pytest.raises(S3Error):
        claim.renew()
    theirs = {"machine": "i-other", "attempt": 2, "beat": 0}
    place.write(theirs, "tasks", 0, "claim")
    assert not claim.renew() and claim.lost
    assert place.read("tasks", 0, "claim")[0] == theirs


def test_an_attempt_after_ours_on_this_very_machine_is_not_ours(place: Place) -> None:
    claim = take(place)
    place.write({"machine": "i-mine", "attempt": 2, "beat": 0}, "tasks", 0, "claim")
    assert not claim.renew() and claim.lost
