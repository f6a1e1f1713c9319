"""A sent job that is followed before a machine has begun it, and while AWS does not answer."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cli.uploads import following, jobs
from infra.cluster import groups
from infra.errors import CloudError, CredentialsError, GoneError, GpujobError, UnbegunError
from infra.ledger import known_clusters
from infra.saved import search
from tests.cli.test_billing import JOB
from tests.cli.test_status import STUD
from tests.here import move_in

SENT = replace(STUD, token="t", bucket="b")


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> list[Any]:
    """What each look into the bucket of a sent job finds, or raises; the last look is repeated."""
    move_in(tmp_path, monkeypatch)
    known_clusters.remember(SENT)
    looks: list[Any] = []

    def look(*_: Any) -> Any:
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if isinstance(found, GpujobError):
            raise found
        return found

    monkeypatch.setattr(search, "list_saved", look)
    monkeypatch.setattr(search, "open_saved", look)
    store = SimpleNamespace(bucket="b", account=None)
    for module in (jobs, following):
        monkeypatch.setattr(module, "open_store", lambda _: store)
    monkeypatch.setattr(following.time, "sleep", lambda _: None)
    return looks


def make(**changes: Any) -> Any:
    """Return a job as a bucket has it, which prints nothing."""
    told = {"prefix": "stud/t/tasks/0/1/", "root": "stud/t/", "ended": False, "read_log": lambda _: iter(())}
    job = replace(JOB, number=2)
    return SimpleNamespace(
        **{**told, "store": SimpleNamespace(bucket="b"), "cluster": SENT, "job": job, "current": job, **changes}
    )


def keep(monkeypatch: pytest.MonkeyPatch, *numbers: int | None) -> None:
    """Let a group keep machines for these jobs, one after the other."""
    left = list(numbers)
    for module in (jobs, following):
        monkeypatch.setattr(module, "find_kept", lambda *_: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr(groups, "find_prefix", lambda *_: "stud/t/" if left[0] else "")


def test_a_job_that_began_and_ended_between_two_looks_is_found(bucket, monkeypatch):
    keep(monkeypatch, 2, None)
    bucket.extend([(), (make(),)])
    assert following.await_saved(GoneError("gone"), "stud", None).job.number == 2


def test_a_job_of_which_a_group_keeps_no_machine_is_not_awaited(bucket, monkeypatch):
    keep(monkeypatch, None)
    bucket.append(())
    with pytest.raises(UnbegunError, match="no machine is kept for it"):
        following.await_saved(GoneError("gone"), "stud", None)
    with pytest.raises(GoneError) as refused:
        following.await_saved(GoneError("gone"), "stud", 2)
    assert refused.value.what == "no job 2 of 'stud' in the bucket b"


def test_a_job_is_followed_past_what_aws_does_not_answer_but_not_past_expired_credentials(bucket, capfd):
    bucket.extend([CloudError("cannot reach AWS"), CloudError("cannot reach AWS"), make(ended=True)])
    assert following.follow_sent(make(), lambda _: None).ended
    assert capfd.readouterr().err.count("cannot reach AWS; the job is not affected; trying again") == 1
    bucket[:] = [CredentialsError("expired")]
    with pytest.raises(CredentialsError):
        following.follow_sent(make(), lambda _: None)


def test_that_a_job_lost_its_machine_is_said_once(bucket, capfd):
    queued = replace(JOB, state="queued", reason="waits for a machine")
    bucket.extend([make(current=queued), make(current=queued), make(), make(ended=True)])
    following.follow_sent(make(), lambda _: None)
    assert capfd.readouterr().err == f"job {JOB.number} queued: waits for a machine\n"


def test_aws_that_does_not_answer_for_long_ends_the_command(bucket, monkeypatch):
    now = time.monotonic()
    clock = iter(range(100))
    monkeypatch.setattr(following.time, "monotonic", lambda: now + 100 * next(clock))
    bucket.append(CloudError("cannot reach AWS"))
    with pytest.raises(CloudError):
        following.follow_sent(make(), lambda _: None)
    assert 5 < next(clock) < 10
