"""Machines of a sent job, each a home with the agent in it: they share nothing but a bucket and a group."""

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from infra.fetch.outputs import EVERYTHING, fetch_once
from infra.model import Counts
from infra.node.agent.away.claims import Watch
from infra.saved.search import list_saved, read_saved
from tests import away_fixtures, s3
from tests.away_fixtures import LOOP, Sending, count
from tests.conftest import wait_for

proxy, sending = s3.proxy, away_fixtures.sending


def fetch(sending: Sending, runs: Path) -> Path:
    """Download what the job has written so far; return the folder of the files."""
    job = read_saved(sending.open_store(), "trial", sending.prefix)
    assert job
    return fetch_once(job, 1, runs, lambda _: None, EVERYTHING).folder / "files"


def test_a_task_runs_uploads_and_empties_the_group(sending: Sending) -> None:
    sending.send("python", "loop.py", "3", "0.1", "0", files={"loop.py": LOOP})
    machine = sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"], end["attempt"], end["complete"]) == ("succeeded", 0, 1, True), (
        machine.said()
    )
    assert json.loads(sending.output("state.json")) == count(3)
    assert "step 3 1" in sending.log(1)
    assert f"boots/{machine.name}.json" in sending.find_keys()
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_a_loop_that_loads_what_it_saved_goes_on_where_a_killed_machine_was(sending: Sending, tmp_path: Path) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP}, stale_s=600)
    first = sending.boot()
    wait_for(lambda: sending.has_output("steps.csv") and sending.has_output(), "log and state")
    assert (fetch(sending, tmp_path) / "state.json").exists()
    first.kill()
    sending.proxy.ahead_s = 610  # the next machine comes long after, by the clock of S3
    sending.boot()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    files = fetch(sending, tmp_path)  # the same results, though of another machine
    assert json.loads((files / "state.json").read_text()) == count(4)
    assert (files.parent / "job.log").read_text() == sending.log(2)
    assert json.loads(sending.output("state.json")) == count(4)
    assert sorted(set(sending.output("steps.csv").split())) == [b"1", b"2", b"3", b"4"]
    assert "step 3 2" in sending.log(2)
    assert "step 1 2" not in sending.log(2)


def test_a_claim_is_free_once_it_has_not_changed_for_long_by_the_clock_of_s3_and_then_by_ones_own() -> None:
    now = [1000.0]
    watch = Watch(60, lambda: now[0])
    assert [watch.is_stale(0, "a", age_s=45), watch.is_alive(0)] == [False, False]
    now[0] += 14
    assert not watch.is_stale(0, "a", age_s=0)  # what S3 says later changes nothing
    now[0] += 1
    assert watch.is_stale(0, "a", age_s=0)
    assert [watch.is_stale(0, "b", age_s=0), watch.is_alive(0)] == [False, True]
    now[0] += 60
    assert [watch.is_stale(0, "b", age_s=0), watch.is_alive(0)] == [True, False]
    assert watch.is_stale(1, "c", age_s=60)


def test_a_frozen_machine_that_wakes_after_its_claim_was_taken_does_no_harm(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP})
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.signal(signal.SIGSTOP)
    second = sending.boot()
    wait_for(lambda: (sending.get("tasks/0/claim") or {})["machine"] == second.name, "the takeover")
    first.signal(signal.SIGCONT)
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    wait_for(lambda: not first.node.processes("loop.py"), "the end of the first one's job")
    assert json.loads(sending.output("state.json")) == count(4)
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_a_notice_ends_the_attempt_and_releases_the_claim(sending: Sending) -> None:
    often = {"first_s": 0.05, "upload_s": 600}  # doubles until there is something to upload
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP}, stale_s=600, **often)
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.guard()
    first.notice()
    wait_for(lambda: sending.get("tasks/0/claim")["machine"] == "", "the release")
    assert sending.get("tasks/0/claim")["why"] == "AWS took the machine"
    assert sending.get("tasks/0/end.json") is None
    sending.boot()
    assert sending.end()["attempt"] == 2
    assert json.loads(sending.output("state.json")) == count(4)
    resumed = read_saved(sending.open_store(), "trial", sending.prefix)
    [span] = sending.get("tasks/0/claim")["earlier"]
    assert (span["machine"], span["seconds"] > 0) == (first.name, True)
    assert resumed and (resumed.current.seconds or 0) > span["seconds"]  # both attempts cost
    assert "AWS reclaims this spot machine" in sending.log(1)


def test_a_failed_job_is_run_again_only_as_often_as_asked(sending: Sending) -> None:
    sending.send("sh", "-c", "echo attempt $GPUJOB_ATTEMPT; exit 7", files={}, retries=1)
    sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"], end["attempt"]) == ("failed", 7, 2)
    assert "attempt 1" in sending.log(1)


def test_attempts_that_save_nothing_new_stop_after_three(sending: Sending) -> None:
    sending.send("sh", "-c", "kill -TERM $$; sleep 60", files={})
    sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"]) == ("failed", None)
    assert end["reason"].startswith("3 attempts in a row ended without saving anything new")
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_a_stop_cancels_the_job_and_what_has_not_begun(sending: Sending) -> None:
    sending.send("sh", "-c", "echo begun > note; sleep 60", files={}, tasks=3)
    sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    sending.put("stop", b"{}")
    assert [sending.end(task)["state"] for task in range(3)] == ["cancelled"] * 3
    assert sending.output("note") == b"begun\n"
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_tasks_are_each_done_once_by_several_machines(sending: Sending) -> None:
    sending.send("sh", "-c", "echo $GPUJOB_TASK >> result; sleep 0.3", files={}, tasks=4, stale_s=600)
    machines = [sending.boot(), sending.boot()]
    ends = [sending.end(task) for task in range(4)]
    assert [(end["state"], end["attempt"]) for end in ends] == [("succeeded", 1)] * 4
    assert [sending.output("result", task) for task in range(4)] == [b"%d\n" % task for task in range(4)]
    assert all(f"boots/{machine.name}.json" in sending.find_keys() for machine in machines)


def test_an_agent_that_is_killed_finds_its_running_job_again(sending: Sending) -> None:
    sending.send("python", "loop.py", "3", "1.2", "0", files={"loop.py": LOOP}, stale_s=600)
    machine = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    (agent,) = machine.node.processes("away")
    os.kill(agent, signal.SIGKILL)
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 1)
    assert json.loads(sending.output("state.json")) == count(3)


def test_the_tasks_of_a_grid_run_beside_each_other_with_their_values_and_are_read_as_one_job(
    sending: Sending, tmp_path: Path
) -> None:
    grid = [{"index": 3, "values": {"lr": "0.1"}}, {"index": 7, "values": {"lr": "0.01"}}]
    # Each task waits for the other, so they end only if the machine runs both at a time.
    script = (
        "echo $GPUJOB_TASK $GPUJOB_TASKS $GPUJOB_GRID_LR $0 $CUDA_VISIBLE_DEVICES | tee result; touch $HOME/begun-$0"
    )
    wait = "while [ $(ls $HOME/begun-* | wc -l) -lt 2 ]; do sleep 0.05; done"
    array = {"tasks": grid, "gpus": 2}
    sending.send("sh", "-c", f"{script}; {wait}", "{lr}", files={"note": b"kept"}, tasks=2, array=array)
    machine = sending.boot()
    ends = [sending.end(task) for task in (3, 7)]
    assert [(end["state"], end["attempt"], end["complete"]) for end in ends] == [("succeeded", 1, True)] * 2
    results = [sending.output("result", task).decode().split() for task in (3, 7)]
    assert [words[:-1] for words in results] == [["3", "2", "0.1", "0.1"], ["7", "2", "0.01", "0.01"]]
    assert sorted(words[-1] for words in results) == ["0", "1"]
    for task, end in zip((3, 7), ends, strict=True):
        log = sending.log(1, task).encode()
        assert (end["log_bytes"], end["log_sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")
    assert not list((machine.node.home / ".gpujob/work").iterdir())

    [array] = list_saved(sending.open_store(), "trial")
    assert (array.job.number, array.job.state, array.job.exit_code, array.ended, array.complete) == (
        *(1, "succeeded", 0),
        *(True, True),
    )
    assert array.job.tasks == Counts(done=2)
    listed = array.tasks
    assert [each.done is not None for each in array.members] == [True, True]  # the listing says enough of them
    names = [key for key in sending.find_keys("tasks/") if "/done-" in key]
    for name in names:
        sending.s3.delete_object(Bucket=sending.name, Key=sending.prefix + name)
    [array] = list_saved(sending.open_store(), "trial")
    assert [each.done for each in array.members] == [None, None]
    for one, same in zip(array.tasks, listed, strict=True):
        assert replace(one, started_at=same.started_at, seconds=same.seconds) == same
        assert (one.started_at, one.seconds) == pytest.approx((same.started_at, same.seconds), abs=0.001)
    spans = [(each.started_at, each.started_at + each.seconds) for each in listed]
    together = max(end for _, end in spans) - min(start for start, _ in spans)
    assert array.job.seconds == pytest.approx(together, abs=0.01)  # a machine of two tasks is paid for once
    home = fetch_once(array, 1, tmp_path / "runs", lambda _: None, EVERYTHING)
    files = home.folder / "files"
    found = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    assert found == ["3.log", "3/result", "7.log", "7/result"]
    assert (files / "7/result").read_bytes() == sending.output("result", 7)
    assert (files / "7.log").read_text() == sending.log(1, 7)
    ended = {(task.index, task.values["lr"], task.state, task.machine) for task in home.receipt.tasks}
    assert ended == {(3, "0.1", "succeeded", machine.name), (7, "0.01", "succeeded", machine.name)}
    assert sorted(line.split(":")[0] for line in (home.folder / "job.log").read_text().splitlines()) == [
        "task 3 lr=0.1",
        "task 7 lr=0.01",
    ]
