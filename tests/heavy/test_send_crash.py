"""A `send` that is killed before or after any call that changes something in AWS, S3's included, by SIGKILL.

It leaves nothing that bills without an end; typed again it does its job once, or `down` removes everything. The ordinary suite
tries a few of these calls (`tests/e2e/test_send_killed.py`).
"""

from collections.abc import Iterator

import pytest

from tests.conftest import wait_for
from tests.killed_sends import Site, open_site

pytestmark = pytest.mark.timeout(900)

OF_BUCKET = (
    "CreateBucket",
    "PutBucketPublicAccessBlock",
    "PutEncryptionConfiguration",
    "PutLifecycleConfiguration",
    "PutBucketTagging",
)
CALLS = (
    "ImportKeyPair",
    "PutParameter.1",
    "PutObject.1",
    "PutObject.2",
    "PutObject.3",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateAutoScalingGroup",
    "SuspendProcesses",
    "PutScheduledUpdateGroupAction",
    "UpdateAutoScalingGroup",
)
POINTS = [f"{call}:{when}" for call in CALLS for when in ("before", "after")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("send-crash")) as site:
        yield site


def check_capacity(site: Site, name: str, point: str) -> None:
    """The group exists once it was created, and keeps a machine only after the last call."""
    call, _, when = point.partition(":")
    place = CALLS.index(call) if call in CALLS else -1
    done = place + (when == "after")
    capacity = None if done <= CALLS.index("CreateAutoScalingGroup") else int(done == len(CALLS))
    assert site.capacity(name) == capacity, point


def remove_bucket(site: Site) -> None:
    """Remove the bucket of the other test, if that came first."""
    s3 = site.account.s3
    with site.unlimited():
        for bucket in s3.list_buckets()["Buckets"]:
            for one in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ()):
                s3.delete_object(Bucket=bucket["Name"], Key=one["Key"])
            s3.delete_bucket_tagging(Bucket=bucket["Name"])  # moto keeps the tags of a bucket of this name
            s3.delete_bucket(Bucket=bucket["Name"])


def test_a_send_killed_at_each_call_in_turn_does_its_job_once(site):
    """Those that make the bucket are first, when there is none."""
    remove_bucket(site)
    for point in [*(f"{call}:{when}" for call in OF_BUCKET for when in ("before", "after")), *POINTS]:
        site.kill_send(point, "resumed", "resumed", ends=False)
        check_capacity(site, "resumed", point)
    wait_for(lambda: site.keys("resumed", "tasks/0/1/job.json"), "job")
    sent = site.send("resumed", "resumed", ends=False)
    assert (sent.code, "job 1 " in sent.said) == (0, True), sent.said
    assert len(site.boots("resumed")) == len(site.watch.living()) == 1
    assert [each for each in site.keys("resumed") if each.endswith("/job.json")] == ["tasks/0/1/job.json"]
    site.give_back("resumed", "--force")


def test_whatever_a_send_killed_at_a_call_has_left_is_removed_by_down(site):
    for number, point in enumerate(POINTS):
        site.kill_send(point, f"left{number:02}", "left", ends=False)
        check_capacity(site, f"left{number:02}", point)
    site.check()
    for number in range(len(POINTS)):
        site.give_back(f"left{number:02}", "--force")
    assert site.watch.remains() == []
