"""An array: one job whose tasks run as places become free, each with its own tree, log and record."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node, kill
from tests.conftest import wait_for

node = fixtures.node

SHOW = 'echo $GPUJOB_TASK of $GPUJOB_TASKS lr=$GPUJOB_GRID_LR gpus=$CUDA_VISIBLE_DEVICES; echo {lr} {other} > out.txt'
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
