"""The queue with hundreds of jobs: what waits takes almost no memory and no processor time, and loses nothing."""

import fcntl
import json
import os
import shutil
import signal

import psutil
import pytest

from infra.node.agent import records
from infra.node.agent.job import queue
from tests import agent_fixtures as fixtures
from tests.conftest import wait_for

node = fixtures.node
WAITING_BYTES = 1_000_000
PAST, POLLS = 40, 5


def programs(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""


def test_jobs_behind_others_hold_no_memory_and_keep_their_secrets(node):
    first = node.submit("sleep", "600", token="first", gpus=None)
    wait_for(lambda: node.record(first)["state"] == "running", "first job")
    secrets = [{"KEY": f"{number}" * 100_000} for number in range(1, 4)]
    command = ("sh", "-c", "printf %s $KEY | wc -c; printf %s $KEY | cut -c 1-3 > first")
    line = [node.submit(*command, token=each["KEY"][:1], gpus=None, secrets=each) for each in secrets]
    pids = [node.identity(number, "supervisor") for number in line]
    wait_for(lambda: [programs(pid) for pid in pids[1:]] == ["flock"] * 2, "the others to wait")
    assert all(psutil.Process(pid).memory_full_info().uss < WAITING_BYTES for pid in pids[1:])
    node.ask("cancel", str(first))
    for number, each in zip(line, secrets, strict=True):
        assert node.wait(number)["state"] == "succeeded"
        assert node.ask("logs", str(number), "0").strip() == b"100000"
        written = node.home / f".gpujob/work/{number}/project/first"
        assert written.read_text().strip() == each["KEY"][:3]
    assert [node.record(number)["started_at"] for number in line] == sorted(
        node.record(number)["started_at"] for number in line
    )


def test_a_job_in_the_middle_that_is_cancelled_or_killed_lets_nobody_overtake(node):
    first = node.submit("sleep", "600", token="first", gpus=None)
    wait_for(lambda: node.record(first)["state"] == "running", "first job")
    second, third, fourth, last = (node.submit("sleep", "600", token=t, gpus=None) for t in "abcd")
    wait_for(lambda: programs(node.identity(last, "supervisor")) == "flock", "the others to wait")
    cancelled = json.loads(node.ask("cancel", str(third)))
    assert (cancelled["state"], cancelled["exit_code"], cancelled["started_at"]) == ("cancelled", 143, None)
    os.kill(node.identity(fourth, "supervisor"), signal.SIGKILL)
    wait_for(lambda: node.record(fourth)["state"] == "interrupted", "verdict")
    wait_for(lambda: programs(node.identity(last, "supervisor")) == "flock", "it to wait behind the second")
    assert node.record(last)["state"] == "queued"
    node.ask("cancel", str(first))
    wait_for(lambda: node.record(second)["state"] == "running", "second job")
    assert node.record(last)["state"] == "queued"
    node.ask("cancel", str(second))
    wait_for(lambda: node.record(last)["state"] == "running", "last job")


@pytest.fixture
def past(tmp_path, monkeypatch):
    """Jobs that are over, and one that holds the only GPU until its lock is released."""
    monkeypatch.setattr(records, "JOBS", tmp_path)
    monkeypatch.setattr(queue, "JOBS", tmp_path)
    for number in range(1, PAST + 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        records.write_json(folder / "job.json", {"command": ["true"]})
        records.write_json(folder / "state.json", {"gpus": [0]})
        for name in ("lock", "queued"):
            (folder / name).touch()
    lock = (tmp_path / str(PAST + 1) / "lock").open()
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_the_head_of_the_queue_looks_only_at_jobs_that_hold_gpus(past, monkeypatch):
    looked: list[list[str]] = [[]]
    supervised = queue.is_supervised

    def sleep(_: float) -> None:
        if len(looked) > POLLS:
            past.close()
        looked.append([])

    monkeypatch.setattr(queue.time, "sleep", sleep)
    monkeypatch.setattr(
        queue, "read_json", lambda path, *rest: looked[-1].append(path) or records.read_json(path, *rest)
    )
    monkeypatch.setattr(queue, "is_supervised", lambda path: looked[-1].append(path) or supervised(path))
    taken: list[int] = []
    queue.wait_in_queue(PAST + 2, 1, 1, taken.extend)
    assert taken == [0]
    for paths in looked[1:]:
        assert {path.name for path in paths} <= {"state.json", str(PAST + 1)}, "only the job that holds the GPU"
        assert len(paths) <= 2


def test_a_flock_that_forks_or_lacks_the_option_is_not_used(tmp_path):
    old = tmp_path / "flock"
    old.write_text("#!/bin/sh\necho unknown option >&2\nexit 64\n")
    old.chmod(0o755)
    assert not queue.can_replace(str(old))
    assert queue.can_replace(shutil.which("flock"))
