"""A job that neither prints nor computes is shown where it stands, marked, and ended only if that was asked for."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node
from tests.conftest import wait_for

node = fixtures.node
STUCK = (
    "import os, sys, threading, time\n"
    "def wait_for_a_batch():\n"
    "    while not os.path.exists('../go'): time.sleep(0.1)\n"
    "print('started')\n"
    "wait_for_a_batch()\n"
    "print('moving on')\n"
    "while not os.path.exists('../end'): print('tick'); time.sleep(0.1)\n"
)
PY_SPY = Path(sys.executable).parent / "py-spy"


def submit_stuck(node: Node, python: str = sys.executable, **wishes: object) -> int:
    wishes = {"hang_after_s": 1.0, "python": python, **wishes}
    return node.submit("python", "stuck.py", files={"stuck.py": STUCK.encode()}, **wishes)


@pytest.mark.skipif(not PY_SPY.exists() and not shutil.which("py-spy"), reason="no py-spy here")
def test_a_job_that_stands_still_is_shown_where_and_runs_on_and_counts_as_running_once_it_moves(node):
    number = submit_stuck(node)
    wait_for(lambda: node.record(number)["state"] == "stalled", "verdict", 60)
    log = node.ask("logs", str(number), "0").decode()
    assert "wait_for_a_batch (stuck.py:3)" in log
    assert node.record(number)["stalled_at"] is not None
    (node.home / f".gpujob/work/{number}/go").touch()
    wait_for(lambda: node.record(number)["state"] == "running", "recovery", 60)
    (node.home / f".gpujob/work/{number}/end").touch()
    assert node.wait(number)["state"] == "succeeded"


def test_a_job_that_stands_still_is_ended_only_on_demand_and_without_py_spy_it_writes_its_stacks_itself(node, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "python").symlink_to(os.path.realpath(sys.executable))
    (node.home / ".gpujob/py-spy").touch()  # in the way of its installation
    number = submit_stuck(node, str(bare / "python"), kill_stalled=True)
    record = node.wait(number)
    assert (record["state"], record["reason"]) == ("failed", "it stood still for 1 s")
    log = node.ask("logs", str(number), "0").decode()
    assert "there is no py-spy here" in log
    assert "in wait_for_a_batch" in log


def test_a_job_that_computes_in_silence_does_not_stand_still(node):
    script = b"import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: pass\n"
    number = node.submit("python", "busy.py", files={"busy.py": script}, hang_after_s=1.0, kill_stalled=True)
    assert node.wait(number)["state"] == "succeeded"
    assert node.ask("logs", str(number), "0") == b""
