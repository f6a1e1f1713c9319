"""Which clusters count as ended, so that what they left is removed for the next one of their name, and which do not."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from infra.ec2 import tags
from infra.ec2.account import Account
from infra.ec2.machines.instances import find_clusters
from infra.ec2.machines.removal import find_remains
from infra.ec2.tags import tag_specification
from infra.errors import UsageError
from infra.ledger import attempts, endings, known_clusters
from infra.ledger.endings import clear, explain, find_ended
from infra.model import WAITING, Cluster, LaunchRequest, Lease, Node
from infra.ssh.keys import make_key
from tests.mocked import mocked_aws

IMAGE = "ami-12c6146b"  # one of moto's


@pytest.fixture
def account(tmp_path, monkeypatch) -> Iterator[Account]:
    """An account that moto keeps in this process, and a laptop that remembers nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with mocked_aws():
        yield Account("aws", boto3.Session("testing", "testing", region_name="us-east-1"))


def marks(account: Account, token: str, **more: str) -> dict[str, str]:
    own = {tags.CLUSTER_TAG: "demo", tags.OWNER_TAG: account.identity.arn, tags.LAUNCH_TAG: token}
    return own | {f"gpujob:{name.replace('_', '-')}": value for name, value in more.items()}


def begin(account: Account, token: str, **more: str) -> None:
    """Make what an `up` makes before it has a machine."""
    made = marks(account, token, **more)
    words: dict[str, Any] = {"TagSpecifications": [tag_specification("key-pair", made)]}
    account.ec2.import_key_pair(KeyName="gpujob-demo", PublicKeyMaterial=make_key()[1].encode(), **words)
    words = {"TagSpecifications": [tag_specification("security-group", made)]}
    account.ec2.create_security_group(GroupName="gpujob-demo", Description="x", **words)


def launch(account: Account, token: str, **more: str) -> str:
    """Launch the machine of a cluster, and remember it as `up` does."""
    made = [tag_specification("instance", marks(account, token, **more))]
    words: dict[str, Any] = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "TagSpecifications": made}
    found = account.ec2.run_instances(**words, KeyName="gpujob-demo")["Instances"][0]["InstanceId"]
    known_clusters.remember(find_clusters(account, "demo")[0])
    return found


def end(account: Account, instance_id: str, code: str = "", reason: str | None = None) -> None:
    """End a machine, for a reason of EC2's own if one is given."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends

    account.ec2.terminate_instances(InstanceIds=[instance_id])
    machine = ec2_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].get_instance(instance_id)
    if code:
        machine.state_reason.code, machine.state_reason.message = code, f"{code}: as EC2 says"
    if reason is not None:
        machine._reason = reason


def test_what_a_cluster_left_that_this_laptop_saw_whole_is_removed_and_its_record_with_it(account):
    begin(account, "old")
    end(account, launch(account, "old"))
    ended = find_ended(account, "demo")
    assert ended is not None
    assert ended.ending.what.startswith("'demo' ended at ")
    assert "terminated outside gpujob" in ended.ending.what
    clear(ended, lambda _: None)
    assert find_remains(account, "demo") == []
    assert known_clusters.recall("demo") is None
    assert find_ended(account, "demo") is None


def test_a_living_cluster_is_taken(account):
    begin(account, "old")
    launch(account, "old")
    with pytest.raises(UsageError, match="cluster 'demo' already exists"):
        find_ended(account, "demo")


def test_an_up_at_work_on_another_laptop_is_not_disturbed(account):
    begin(account, "theirs")
    with pytest.raises(UsageError, match="another launch of 'demo' started 0 min ago"):
        find_ended(account, "demo")
    assert len(find_remains(account, "demo")) == 2


def test_an_up_that_lost_a_machine_of_its_fleet_is_still_at_work(account):
    """A fleet that came in part is given back, and the same `up` goes on with the other market under the same token."""
    begin(account, "theirs")
    end(account, launch(account, "theirs"))
    known_clusters.forget_cluster("demo")  # this laptop has never seen it
    with pytest.raises(UsageError, match="may still be running"):
        find_ended(account, "demo")


def test_a_sent_job_that_ended_within_minutes_does_not_count_as_a_launch_at_work(account):
    """Its group keeps no machine any more, whichever of its machines this laptop has seen."""
    begin(account, "sent")
    end(account, launch(account, "sent"))
    node = Node("", WAITING, "", 22, "", "")
    owner = account.identity.arn
    known = Cluster("demo", "aws", "us-east-1", (node,), None, 0.0, time.time(), time.time(), owner, token="sent")
    known_clusters.remember(known)
    assert find_ended(account, "demo") is not None
    known_clusters.remember(replace(known, token="another"))
    with pytest.raises(UsageError, match="may still be running"):
        find_ended(account, "demo")


def test_a_key_pair_that_has_stood_alone_for_long_is_of_no_up_at_work(account, monkeypatch):
    begin(account, "lost")
    now = time.time()
    monkeypatch.setattr(endings.time, "time", lambda: now + endings.GRACE_S + 60)
    ended = find_ended(account, "demo")
    assert ended is not None
    clear(ended, lambda _: None)
    assert find_remains(account, "demo") == []


def test_what_another_person_left_is_theirs_however_old(account, monkeypatch):
    begin(account, "lost", owner="arn:aws:iam::123456789012:user/other")
    now = time.time()
    monkeypatch.setattr(endings.time, "time", lambda: now + 1e6)
    with pytest.raises(UsageError, match="belongs to arn:aws:iam::123456789012:user/other"):
        find_ended(account, "demo")


def test_a_cluster_is_not_cleared_with_what_an_up_made_since(account):
    begin(account, "old")
    end(account, launch(account, "old"))
    ended = find_ended(account, "demo")
    assert ended is not None
    account.ec2.delete_key_pair(KeyName="gpujob-demo")  # by the other laptop, which takes the name
    words: dict[str, Any] = {"TagSpecifications": [tag_specification("key-pair", marks(account, "new"))]}
    account.ec2.import_key_pair(KeyName="gpujob-demo", PublicKeyMaterial=make_key()[1].encode(), **words)
    clear(ended, lambda _: None)
    assert [(one.kind, one.key) for one in find_remains(account, "demo")] == [("key pair", "gpujob-demo")]


def test_the_up_that_goes_on_finds_its_own_things_not_in_the_way(account):
    begin(account, "mine")
    lease = Lease(time.time() + 3600, 1.0)
    attempts.write_attempt("demo", attempts.Attempt("mine", LaunchRequest(), "aws", "us-east-1", lease, "", ""))
    assert find_ended(account, "demo", "mine") is None
    assert find_ended(account, "demo") is not None  # with words of its own: that `up` was broken off on this laptop


LEASE = "2100-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("code", "reason", "more", "said"),
    [
        ("", None, {}, "'demo' ended at HH:MM (terminated outside gpujob, for example in the EC2 console)"),
        ("Server.SpotInstanceTermination", None, {}, "'demo' ended at HH:MM (AWS reclaimed the spot machine)"),
        ("Server.InternalError", "", {}, "'demo' ended at HH:MM (Server.InternalError: as EC2 says)"),
        (
            "Client.InstanceInitiatedShutdown",
            "User initiated",
            {"idle_stop": "1800", "lease_until": LEASE},
            "'demo' ended itself at HH:MM (idle for 30 min, or shut down by hand)",
        ),
        (
            "Client.InstanceInitiatedShutdown",
            "User initiated",
            {"lease_until": LEASE},
            "'demo' ended itself at HH:MM (it powered itself off)",
        ),
        (
            "Client.InstanceInitiatedShutdown",
            "User initiated",
            {"lease_until": "2026-01-01T12:00:00Z"},
            "'demo' ended itself at 2026-01-01 HH:MM (end of its lease)",
        ),
    ],
)
def test_why_a_cluster_ended_is_told_as_far_as_ec2_tells(account, code, reason, more, said):
    import re

    end(account, launch(account, "old", **more), code, reason)
    began = {"LaunchTime": datetime.now(UTC) - timedelta(hours=1)}
    machines = [{**one, **began} for one in endings.instances.find_instances(account, "demo")]
    ending = explain(account, "demo", known_clusters.recall("demo"), machines)
    assert re.sub(r"\d\d:\d\d", "HH:MM", ending.what) == said


def test_of_a_machine_that_ec2_no_longer_shows_nothing_is_made_up(account):
    launch(account, "old", lease_until=LEASE)
    assert explain(account, "demo", known_clusters.recall("demo"), []).what == "'demo' no longer exists in EC2"
    with pytest.raises(UsageError, match="does not show the machine of 'demo' yet"):
        endings.check_over("demo", known_clusters.recall("demo"), [], [])
