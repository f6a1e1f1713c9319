"""An array: one job whose tasks run as places become free, each with its own tree, log and record."""

import json
import os
import signal

import pytest

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node, kill
from tests.conftest import wait_for

node = fixtures.node

SHOW = "echo $GPUJOB_TASK of $GPUJOB_TASKS lr=$GPUJOB_GRID_LR gpus=$CUDA_VISIBLE_DEVICES; echo {lr} {other} > out.txt"
GATE = "echo begun; while [ ! -e $HOME/go ]; do sleep 0.02; done; echo $GPUJOB_TASK > $GPUJOB_OUTPUTS/done"


def array(count: int, **more: object) -> dict:
    tasks = [{"index": index, "values": {}} for index in range(count)]
    return {"tasks": tasks, "at_once": None, "share": None, "retries": 0, **more}


def tasks(node: Node, number: int) -> list[dict]:
    return json.loads(node.ask("tasks", str(number)))["tasks"]


def states(node: Node, number: int) -> list[str]:
    return [task["state"] for task in tasks(node, number)]


def outputs(node: Node, number: int) -> dict[str, dict]:
    return {each["path"]: each for each in json.loads(node.ask("outputs", str(number)))["outputs"]}


def test_each_task_has_its_values_its_tree_and_its_log(node):
    grid = array(2, tasks=[{"index": 3, "values": {"lr": "0.1"}}, {"index": 7, "values": {"lr": "1e-3"}}])
    number = node.submit("sh", "-c", SHOW, files={"keep.txt": b"kept", "sub/a.txt": b"a"}, array=grid, slots=2, gpus=1)
    record = node.wait(number)
    assert (record["state"], record["exit_code"]) == ("succeeded", 0)
    assert record["tasks"] == {"done": 2, "running": 0, "failed": 0, "cancelled": 0, "left": 0, "left_s": None}
    found = outputs(node, number)
    assert sorted(found) == ["3.log", "3/out.txt", "7.log", "7/out.txt"]
    around = node.home / f".gpujob/work/{number}/tasks"
    assert (around / "3/out.txt").read_text() == "0.1 {other}\n"
    logs = [(around / f"{index}.log").read_text() for index in (3, 7)]
    assert [log.split(" gpus")[0] for log in logs] == ["3 of 2 lr=0.1", "7 of 2 lr=1e-3"]
    assert sorted(log.split("gpus=")[1] for log in logs) == ["0\n", "1\n"]
    assert [(task["index"], task["exit_code"], task["node"]) for task in tasks(node, number)] == [(3, 0, 0), (7, 0, 0)]


def test_a_task_that_fails_ends_no_other_and_gives_the_array_its_exit_code(node):
    number = node.submit("sh", "-c", "[ $GPUJOB_TASK != 1 ] || exit 7", array=array(4, share=1), slots=0)
    record = node.wait(number)
    assert (record["state"], record["exit_code"]) == ("failed", 7)
    assert record["reason"] == "1 of 4 tasks failed, task 1 first"
    assert states(node, number) == ["succeeded", "failed", "succeeded", "succeeded"]
    assert f"task 1 failed (exit 7): gpujob logs {number}.1" in node.ask("logs", str(number), "0").decode()


def test_no_more_tasks_run_at_once_than_places_and_the_next_job_passes_when_the_last_has_started(node):
    first = node.submit("sh", "-c", GATE, array=array(5, share=2), slots=2, gpus=1)
    wait_for(lambda: states(node, first).count("running") == 4, "four tasks on two GPUs, shared by two each")
    behind = node.submit("true", token="u", slots=2, gpus=0)
    assert states(node, first)[4] == "queued"
    assert node.record(behind)["state"] == "queued"
    (node.home / "go").touch()
    assert node.wait(first)["state"] == node.wait(behind)["state"] == "succeeded"
    assert node.record(first)["gpus"] == [0, 1]


def test_at_most_as_many_run_as_asked_for_and_then_the_next_job_passes(node):
    first = node.submit("sh", "-c", GATE, array=array(3, at_once=1), slots=2, gpus=1)
    behind = node.submit("true", token="u", slots=2, gpus=1)
    assert node.wait(behind)["state"] == "succeeded"
    assert sorted(states(node, first)) == ["queued", "queued", "running"]
    (node.home / "go").touch()
    assert node.wait(first)["tasks"]["done"] == 3


def test_a_cancel_ends_what_runs_and_all_that_is_left(node):
    number = node.submit("sh", "-c", GATE, array=array(1000), slots=2, gpus=1)
    wait_for(lambda: states(node, number).count("running") == 2, "two tasks")
    record = json.loads(node.ask("cancel", str(number)))
    assert (record["state"], record["tasks"]["cancelled"]) == ("cancelled", 1000)
    assert not node.processes("sleep")


def test_single_tasks_are_cancelled_whether_they_run_or_wait_and_the_others_go_on(node):
    number = node.submit("sh", "-c", GATE, array=array(5), slots=2, gpus=1)
    runner_of(node, number, 1)
    for index in (1, 4):
        record = json.loads(node.ask("cancel", f"{number}.{index}"))
        assert record["state"] == "cancelled"
    assert states(node, number)[4] == "cancelled"
    (node.home / "go").touch()
    record = node.wait(number)
    assert states(node, number) == ["succeeded", "cancelled", "succeeded", "succeeded", "cancelled"]
    assert (record["state"], record["exit_code"], record["reason"]) == ("failed", 143, "2 of 5 tasks cancelled")
    assert json.loads(node.ask("cancel", f"{number}.0"))["state"] == "succeeded"


def test_a_task_of_an_array_that_is_queued_is_cancelled_before_it_starts(node):
    node.submit("sh", "-c", GATE, slots=1, gpus=1)
    number = node.submit("sh", "-c", "true", token="u", array=array(2), slots=1, gpus=1)
    assert json.loads(node.ask("cancel", f"{number}.0"))["state"] == "queued"
    (node.home / "go").touch()
    node.wait(number)
    assert states(node, number) == ["cancelled", "succeeded"]


def runner_of(node: Node, number: int, index: int) -> int:
    """The process of a task's runner, once its command runs."""
    path = node.home / f".gpujob/jobs/{number}/tasks/{index}/runner.json"
    wait_for(
        lambda: path.exists() and b"main" in path.read_bytes() and json.loads(path.read_bytes())["main"], "command"
    )
    return json.loads(path.read_bytes())["runner"][0]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_task_whose_runner_is_killed_is_interrupted_or_runs_again(node, retries):
    number = node.submit("sh", "-c", GATE, array=array(2, retries=retries), slots=2, gpus=1)
    kill(runner_of(node, number, 1))
    wait_for(lambda: "interrupted" in node.ask("logs", str(number), "0").decode(), "the loss in the log")
    (node.home / "go").touch()
    record = node.wait(number)
    if retries:
        assert (record["state"], tasks(node, number)[1]["attempts"]) == ("succeeded", 2)
    else:
        assert (record["state"], record["exit_code"]) == ("interrupted", None)
        assert states(node, number) == ["succeeded", "interrupted"]
        assert "project" not in str(sorted(outputs(node, number)))


@pytest.mark.parametrize("killed", [("runner",), ("supervisor",), ("runner", "supervisor")])
def test_killed_processes_of_an_array_cost_no_task_and_none_runs_twice(node, killed):
    command = f"echo once >> $HOME/ran-$GPUJOB_TASK; {GATE}"
    number = node.submit("sh", "-c", command, array=array(6), slots=2, gpus=1)
    for index in (0, 1):
        runner_of(node, number, index)
    os.kill(node.identity(number, "supervisor"), signal.SIGSTOP)
    for who in killed:
        kill(node.identity(number, who))
    if "supervisor" not in killed:
        os.kill(node.identity(number, "supervisor"), signal.SIGCONT)
    assert node.record(number)["state"] == "running"
    assert states(node, number).count("running") == 2
    (node.home / "go").touch()
    record = node.wait(number)
    assert (record["state"], record["tasks"]["done"]) == ("succeeded", 6)
    assert [(node.home / f"ran-{index}").read_text() for index in range(6)] == ["once\n"] * 6


def test_the_log_of_a_task_is_followed_until_that_task_ends(node):
    number = node.submit("sh", "-c", "echo of $GPUJOB_TASK", array=array(3, at_once=1), slots=0)
    following = node.start("logs", f"{number}.2", "0", "--follow")
    assert following.stdout.read() == b"of 2\n"
    following.communicate()
    assert json.loads(node.ask("jobs", f"{number}.2"))[0]["exit_code"] == 0
    process = node.start("logs", f"{number}.9", "0")
    assert (process.communicate()[1], process.returncode) == (f"job {number} has no task 9\n".encode(), 3)


def test_secrets_are_masked_in_the_log_of_each_task(node):
    number = node.submit("sh", "-c", "echo $KEY", array=array(2), slots=0, secrets={"KEY": "hidden-value"})
    assert node.wait(number)["state"] == "succeeded"
    logs = [(node.home / f".gpujob/work/{number}/tasks/{index}.log").read_text() for index in (0, 1)]
    assert logs == ["***\n", "***\n"]
