"""A machine that is shut down in order saves what its job has written, and lets the next machine have the task at once."""

import json
import time
from pathlib import Path

from tests import away_fixtures, s3
from tests.away_fixtures import LOOP, Sending, count
from tests.conftest import wait_for

proxy, sending = s3.proxy, away_fixtures.sending

# Saves, and ends, when it is told to; or takes no notice.
SAVING = "trap 'echo saved > result; exit 0' TERM; echo begun > note; while :; do sleep 0.1; done"
DEAF = "trap '' TERM; echo begun > note; while :; do sleep 0.1; done"


SELDOM = {"first_s": 0.05, "upload_s": 600}  # doubles until there is something to upload


def is_released(sending: Sending, task: int = 0) -> bool:
    claim = sending.get(f"tasks/{task}/claim")
    return bool(claim["machine"] == "" and claim["why"] == "its machine was shut down")


def test_a_machine_that_is_shut_down_lets_the_next_one_go_on_at_once(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP}, stale_s=600)
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.shut_down()
    assert is_released(sending)
    assert "this machine shuts down; sending SIGTERM to the job" in sending.log(1)
    sending.boot()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert json.loads(sending.output("state.json")) == count(4)


def test_what_a_job_saves_when_its_machine_shuts_down_is_in_the_bucket(sending: Sending) -> None:
    sending.send("sh", "-c", SAVING, files={}, stale_s=600, **SELDOM)
    machine = sending.boot()
    wait_for(lambda: sending.has_output("note"), "the first manifest")
    machine.shut_down()
    assert is_released(sending)
    assert sending.output("result") == b"saved\n"
    assert sending.get("tasks/0/end.json") is None


def test_so_is_what_a_job_has_that_takes_no_notice(sending: Sending) -> None:
    sending.send("sh", "-c", DEAF, files={}, stale_s=600, stop_s=0.3)
    machine = sending.boot()
    wait_for(lambda: sending.has_output("note"), "the first manifest")
    machine.shut_down()
    assert is_released(sending)


def test_the_claim_is_released_before_the_machine_ends_even_if_not_all_is_uploaded(sending: Sending) -> None:
    sending.send("sh", "-c", SAVING, files={}, stale_s=600, **SELDOM, stop_s=2)
    machine = sending.boot()
    wait_for(lambda: sending.has_output("note"), "the first manifest")
    sending.proxy.rule = lambda method, path: time.sleep(30) or "" if method == "PUT" and "/out/" in path else ""
    machine.shut_down()
    assert is_released(sending)


def test_each_task_of_a_machine_that_is_shut_down_is_released(sending: Sending, tmp_path: Path) -> None:
    array = {"tasks": [{"index": index, "values": {}} for index in range(3)], "gpus": 2}
    sending.send("sh", "-c", SAVING, files={}, tasks=3, array=array, stale_s=600, **SELDOM)
    machine = sending.boot()
    wait_for(lambda: len(machine.node.processes(SAVING)) >= 2, "two tasks")
    machine.shut_down()
    claims = [key for key in sending.find_keys("tasks/") if key.endswith("/claim")]
    assert claims == ["tasks/0/claim", "tasks/1/claim"]
    assert all(is_released(sending, task) for task in range(2))


def test_a_service_that_is_restarted_goes_on_with_its_job(sending: Sending) -> None:
    sending.send("python", "loop.py", "3", "0.8", "0", files={"loop.py": LOOP}, stale_s=600)
    machine = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    machine.terminate_service()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 1)
    assert sending.log(1).count("step 1 1") == 1


def test_a_machine_without_a_task_shuts_down_at_once(sending: Sending) -> None:
    sending.send("true", files={})
    machine = sending.boot()
    wait_for(sending.is_empty, "the group's end")
    start = time.monotonic()
    machine.shut_down()
    assert time.monotonic() - start < 30
