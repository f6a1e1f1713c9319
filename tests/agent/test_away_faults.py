"""Machines of a sent job, when S3, AWS and the processes on them fail in every way that they can."""

import json
import time
from collections.abc import Callable

from tests import away_fixtures, s3
from tests.agent_fixtures import kill
from tests.away_fixtures import LOOP, Machine, Sending, count
from tests.conftest import wait_for

proxy, sending = s3.proxy, away_fixtures.sending

# Counts its starts, and refuses to run beside another one on the same machine.
ALONE = b"""
import fcntl, os, pathlib, sys, time
home = pathlib.Path.home()
lock = (home / "alone").open("w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
with (home / "starts").open("a") as starts:
    print(os.environ["GPUJOB_ATTEMPT"], file=starts)
pathlib.Path("result").write_text("whole")
while not (home / "go").exists():
    time.sleep(0.05)
pathlib.Path("last").write_text("whole")
(home / "done").touch()
"""
# Saves; then, told to end, begins to write the same file anew and does not come to an end.
TORN = b"""
import pathlib, signal, time
def save(*_):
    with pathlib.Path("model").open("wb") as model:
        model.write(b"half")
        model.flush()
        time.sleep(600)
signal.signal(signal.SIGTERM, save)
pathlib.Path("model").write_bytes(b"whole" * 1000)
while True:
    time.sleep(1)
"""
# Saves and exits with 0 once it is told to end; the second attempt has little left to do.
POLITE = b"""
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path("state").write_text("half")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
if pathlib.Path("state").exists():
    pathlib.Path("state").write_text("whole")
    sys.exit(0)
time.sleep(600)
"""


def test_a_file_that_is_being_written_when_the_machine_is_taken_stays_as_it_was(sending: Sending) -> None:
    sending.send("python", "torn.py", files={"torn.py": TORN}, notice_s=1.0)
    machine = sending.boot()
    machine.guard()
    wait_for(sending.has_output, "the first manifest")
    machine.notice()
    wait_for(lambda: sending.get("tasks/0/claim")["machine"] == "", "the release")
    assert sending.output("model") == b"whole" * 1000


def test_a_job_is_started_once_though_the_bucket_cannot_be_listed_when_it_has_begun(sending: Sending) -> None:
    sending.send("python", "alone.py", files={"alone.py": ALONE})
    sending.refuse("list-type")
    machine = sending.boot()
    starts = machine.node.home / "starts"
    wait_for(starts.exists, "the job's start")
    beat = sending.get("tasks/0/claim")["beat"]
    wait_for(lambda: sending.get("tasks/0/claim")["beat"] > beat + 3, "some renewals")
    sending.answer()
    wait_for(sending.has_output, "the first manifest")
    (machine.node.home / "go").touch()
    end = sending.end()
    assert (end["state"], end["attempt"], end["complete"], starts.read_text()) == ("succeeded", 1, True, "1\n")


def test_a_job_whose_supervisor_and_runner_were_killed_is_minded_again_and_never_runs_twice(sending: Sending) -> None:
    sending.send("python", "alone.py", files={"alone.py": ALONE})
    machine = sending.boot()
    wait_for(sending.has_output, "the first manifest")
    for who in ("supervisor", "runner"):
        kill(machine.node.identity(1, who))
    beat = sending.get("tasks/0/claim")["beat"]
    wait_for(lambda: sending.get("tasks/0/claim")["beat"] > beat + 3, "some renewals")
    assert sending.get("tasks/0/claim")["attempt"] == 1
    (machine.node.home / "go").touch()
    end = sending.end()
    # The end of the first attempt was not seen.
    assert (end["state"], end["attempt"]) == ("succeeded", 2), machine.said()
    assert (machine.node.home / "starts").read_text() == "1\n2\n"


def test_a_machine_whose_role_is_repaired_later_works_then(sending: Sending) -> None:
    sending.send("sh", "-c", "echo whole > result", files={})
    sending.refuse()
    machine = sending.boot()
    wait_for(lambda: machine.said().count("AccessDenied") >= 2, "two refusals")
    assert not sending.is_empty()
    sending.answer()
    assert sending.end()["state"] == "succeeded"


def end_without(sending: Sending, breaking: Callable[[], None]) -> Machine:
    """Break the bucket after the first upload, and let the job end; return its machine once it has tried to upload."""
    sending.send("python", "alone.py", files={"alone.py": ALONE})
    machine = sending.boot()
    wait_for(sending.has_output, "the first manifest")
    breaking()
    (machine.node.home / "go").touch()
    wait_for((machine.node.home / "done").exists, "the job's end")
    refused = len(sending.proxy.seen)
    wait_for(lambda: len(sending.proxy.seen) > refused + 3, "refused uploads")
    return machine


def test_a_job_goes_on_while_s3_refuses_and_the_machine_stays_until_all_is_there(sending: Sending) -> None:
    machine = end_without(sending, sending.refuse)
    assert (sending.get("tasks/0/end.json"), sending.is_empty()) == (None, False)
    sending.answer()
    end = sending.end()
    assert (end["state"], end["attempt"], end["complete"], sending.output("last")) == ("succeeded", 1, True, b"whole")
    assert "Traceback" not in machine.said()


def test_a_job_goes_on_when_its_bucket_is_deleted_and_the_machine_stays(sending: Sending) -> None:
    machine = end_without(sending, sending.delete_bucket)
    assert machine.node.processes("away")
    assert not sending.is_empty()
    assert "Traceback" not in machine.said()


def test_what_a_job_does_after_a_warning_is_no_success_and_an_extension_lets_it_go_on(sending: Sending) -> None:
    sending.send("python", "polite.py", files={"polite.py": POLITE}, warning_s=3)
    machine = sending.boot()
    machine.lease(time.time() + 3600)
    machine.guard(warning_s=3)
    wait_for(lambda: "begun" in sending.log(1), "the start")
    machine.lease(time.time() + 3)
    wait_for((machine.node.home / ".gpujob/jobs/1/warned").exists, "the warning")
    sending.put("lease.json", json.dumps({"until": time.time() + 3600}).encode())
    end = sending.end()
    assert (end["state"], end["attempt"], sending.output("state")) == ("succeeded", 2, b"whole")
    assert machine.lease_end() > time.time() + 3000


def test_a_job_that_takes_no_notice_of_the_end_of_its_lease_is_said_to_be_interrupted_before_it(
    sending: Sending,
) -> None:
    sending.send("python", "torn.py", files={"torn.py": TORN}, warning_s=30, last_s=29)
    machine = sending.boot()
    machine.guard(warning_s=30)
    wait_for(sending.has_output, "the first manifest")
    # The last upload starts in a second, and a busy computer has 29 s for it.
    machine.lease(time.time() + 30)
    end = sending.end()
    assert end["ended_at"] < machine.lease_end()
    assert (end["state"], end["reason"]) == ("interrupted", "the lease ended before it was done")
    assert sending.output("model") == b"whole" * 1000
    wait_for(sending.is_empty, "the group's end")


def test_a_cancellation_between_two_machines_ends_the_job_before_the_next_attempt(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP})
    first = sending.boot()
    wait_for(sending.has_output, "the first manifest")
    first.kill()
    sending.put("stop", b"{}")
    sending.boot()
    assert sending.end()["state"] == "cancelled"
    assert json.loads(sending.output("state.json")) == count(2)
    assert "tasks/0/2/job.json" not in sending.find_keys()
    wait_for(sending.is_empty, "the group's end")


def test_a_machine_stops_its_attempt_when_another_has_written_the_end(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP})
    machine = sending.boot()
    wait_for(sending.has_output, "the first manifest")
    sending.put("tasks/0/end.json", json.dumps({"state": "succeeded", "attempt": 1}).encode())
    wait_for(sending.is_empty, "the group's end")
    assert not machine.node.processes("loop.py")
    assert sending.get("tasks/0/end.json") == {"state": "succeeded", "attempt": 1}


def test_a_machine_whose_claim_was_taken_ends_its_job_though_the_task_goes_on(sending: Sending) -> None:
    sending.send("python", "alone.py", files={"alone.py": ALONE})
    machine = sending.boot()
    wait_for(sending.has_output, "the first manifest")
    claim = sending.get("tasks/0/claim")
    sending.put("tasks/0/claim", json.dumps({**claim, "machine": "i-other", "attempt": 2}).encode())
    # The other one never renews it, so this machine has it again after a while.
    wait_for(
        lambda: (machine.node.home / "starts").read_text() == "1\n3\n", "another attempt, and the end of the first"
    )
    (machine.node.home / "go").touch()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 3), machine.said()


def test_the_end_that_was_written_first_stays(sending: Sending) -> None:
    first = {"state": "succeeded", "exit_code": 0, "attempt": 2}

    def write_before(method: str, path: str) -> str:
        if method == "PUT" and path.endswith("/tasks/0/end.json") and not sending.get("tasks/0/end.json"):
            sending.put("tasks/0/end.json", json.dumps(first).encode())
        return ""

    sending.proxy.rule = write_before
    sending.send("true", files={})
    sending.boot()
    wait_for(sending.is_empty, "the group's end")
    assert sending.get("tasks/0/end.json") == first
