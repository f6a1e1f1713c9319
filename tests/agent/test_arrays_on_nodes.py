"""An array over two nodes: each takes tasks while it has room, and one that is lost costs only what ran there."""

import json

import pytest

from tests.agent import test_several_nodes as several
from tests.agent.test_arrays import GATE, array, outputs, runner_of, states, tasks
from tests.agent.test_several_nodes import Pair
from tests.agent_fixtures import kill
from tests.conftest import wait_for

pair = several.pair
ONE_AT_A_TIME = {"slots": 1, "gpus": 1}


def wait_until_shared(pair: Pair, number: int) -> list[int]:
    """Wait until both nodes run a task; return the indices, that of node 0 first."""

    def running() -> dict[int, int]:
        return {task["node"]: task["index"] for task in tasks(pair.nodes[0], number) if task["state"] == "running"}

    wait_for(lambda: len(running()) == 2, "a task on each node")
    indices = [running()[rank] for rank in (0, 1)]
    for node, index in zip(pair.nodes, indices, strict=True):
        runner_of(node, number, index)
    return indices


def open_gates(pair: Pair) -> None:
    for node in pair.nodes:
        (node.home / "go").touch()


def test_both_nodes_take_tasks_and_node_0_knows_what_became_of_each(pair):
    command = f"[ $GPUJOB_TASK != 1 ] || exit 7; {GATE}"
    number = pair.submit("sh", "-c", command, array=array(6), **ONE_AT_A_TIME)
    wait_until_shared(pair, number)
    open_gates(pair)
    first, second = pair.wait(number)
    assert (first["state"], first["exit_code"], first["tasks"]["done"]) == ("failed", 7, 5)
    assert second["state"] == "failed"
    found = tasks(pair.nodes[0], number)
    assert {task["node"] for task in found} == {0, 1}
    for rank, node in enumerate(pair.nodes):
        own = {str(task["index"]) for task in found if task["node"] == rank}
        assert {path.partition("/")[0] for path in outputs(node, number) if not path.endswith(".log")} == own - {"1"}


def test_a_cancel_on_node_0_ends_the_tasks_of_both(pair):
    number = pair.submit("sh", "-c", GATE, array=array(100), **ONE_AT_A_TIME)
    wait_until_shared(pair, number)
    record = json.loads(pair.nodes[0].ask("cancel", str(number)))
    assert (record["state"], record["tasks"]["cancelled"]) == ("cancelled", 100)
    pair.wait(number)
    assert not any(node.processes("sleep") for node in pair.nodes)


def test_a_task_on_another_node_is_cancelled_through_node_0(pair):
    number = pair.submit("sh", "-c", GATE, array=array(3), **ONE_AT_A_TIME)
    _, there = wait_until_shared(pair, number)
    assert json.loads(pair.nodes[0].ask("cancel", f"{number}.{there}"))["state"] == "cancelled"
    open_gates(pair)
    record = pair.nodes[0].wait(number)
    assert (record["tasks"]["done"], record["tasks"]["cancelled"]) == (2, 1)
    assert tasks(pair.nodes[0], number)[there]["node"] == 1


@pytest.mark.parametrize("retries", [0, 1])
def test_a_lost_node_costs_only_its_task_or_with_retries_none(pair, retries):
    number = pair.submit("sh", "-c", GATE, array=array(4, retries=retries), **ONE_AT_A_TIME)
    _, lost = wait_until_shared(pair, number)
    pair.nodes[1].power_off()
    wait_for(lambda: "node 1 (i-b) was lost" in pair.log(0, number), "the loss in the log")
    open_gates(pair)
    record = pair.nodes[0].wait(number)
    if retries:
        assert (record["state"], record["tasks"]["done"]) == ("succeeded", 4)
        assert [(task["node"], task["attempts"]) for task in tasks(pair.nodes[0], number)][lost] == (0, 2)
    else:
        assert (record["state"], record["exit_code"], record["tasks"]["done"]) == ("interrupted", None, 3)
        assert tasks(pair.nodes[0], number)[lost]["reason"].startswith("node 1 (i-b) was lost")


def test_a_node_whose_dispatcher_is_killed_ends_its_tasks_before_another_runs_them(pair):
    command = f"mkdir $HOME/../lock-$GPUJOB_TASK || exit 9; trap 'rmdir $HOME/../lock-$GPUJOB_TASK' EXIT TERM; {GATE}"
    number = pair.submit("sh", "-c", command, array=array(3, retries=1), **ONE_AT_A_TIME)
    _, lost = wait_until_shared(pair, number)
    kill(pair.nodes[1].identity(number, "runner"))
    wait_for(lambda: f"task {lost} was interrupted" in pair.log(0, number), "the loss in the log")
    open_gates(pair)
    record = pair.nodes[0].wait(number)
    assert (record["state"], record["tasks"]["done"]) == ("succeeded", 3)


@pytest.mark.parametrize("how", ["killed", "gone"])
def test_without_node_0_the_other_ends_its_tasks(pair, how):
    number = pair.submit("sh", "-c", GATE, array=array(4), **ONE_AT_A_TIME)
    wait_until_shared(pair, number)
    if how == "killed":
        kill(pair.nodes[0].identity(number, "runner"))
    else:
        pair.nodes[0].power_off()
    assert pair.nodes[1].wait(number)["state"] == "interrupted"
    assert not pair.nodes[1].processes("sleep")
    if how == "killed":
        assert pair.nodes[0].wait(number)["state"] == "interrupted"
        assert set(states(pair.nodes[0], number)) == {"interrupted"}
