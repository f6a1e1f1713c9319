"""A job that neither prints nor computes is shown where it stands, marked, and ended only if that was asked for."""

import os
import shutil
import signal
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


# Its command line, a child's, and the name of a thread have the secret in them.
TELLTALE = (
    "import os, subprocess, sys, threading, time\n"
    "if len(sys.argv) == 1: os.execv(sys.executable, [sys.executable, 'stuck.py', os.environ['TOKEN']])\n"
    "subprocess.Popen([sys.executable, '-c', 'import sys, time\\ntime.sleep(60)', os.environ['TOKEN']])\n"
    "threading.Thread(target=time.sleep, args=[60], name=os.environ['TOKEN'], daemon=True).start()\n"
    "time.sleep(60)\n"
)
SECRET = "hunter2-hunter2"


def submit_stuck(node: Node, python: str = sys.executable, **options: object) -> int:
    options = {"hang_after_s": 1.0, "python": python, **options}
    return node.submit("python", "stuck.py", files={"stuck.py": STUCK.encode()}, **options)


@pytest.mark.skipif(not PY_SPY.exists() and not shutil.which("py-spy"), reason="no py-spy here")
def test_a_job_that_stands_still_is_shown_where_and_runs_on_and_counts_as_running_once_it_moves(node):
    number = submit_stuck(node)
    wait_for(lambda: node.record(number)["state"] == "stalled", "verdict")
    log = node.ask("logs", str(number), "0").decode()
    assert "wait_for_a_batch (stuck.py:3)" in log
    assert node.record(number)["stalled_at"] is not None
    (node.home / f".gpujob/work/{number}/go").touch()
    wait_for(lambda: node.record(number)["state"] == "running", "recovery")
    (node.home / f".gpujob/work/{number}/end").touch()
    assert node.wait(number)["state"] == "succeeded"


@pytest.mark.skipif(not PY_SPY.exists() and not shutil.which("py-spy"), reason="no py-spy here")
@pytest.mark.parametrize("supervisor_killed", [False, True])
def test_a_stalled_job_s_stacks_show_no_secret_even_once_nobody_knows_it(node, supervisor_killed):
    options = {"secrets": {"TOKEN": SECRET}, "hang_after_s": 2.0, "python": sys.executable}
    number = node.submit("python", "stuck.py", files={"stuck.py": TELLTALE.encode()}, **options)
    node.identity(number, "main")
    if supervisor_killed:
        os.kill(node.identity(number, "supervisor"), signal.SIGKILL)
    wait_for(lambda: node.record(number)["state"] == "stalled", "verdict")
    log = node.ask("logs", str(number), "0").decode()
    assert "<module> (stuck.py:" in log
    assert log.count("gpujob: process ") >= 2
    records = [path.read_text() for path in (node.home / ".gpujob").glob("jobs/*/*.json")]
    assert not [text for text in (log, *records) if SECRET in text], log
    node.ask("cancel", str(number))


def test_a_job_that_stands_still_is_ended_only_on_demand_and_without_py_spy_it_writes_its_stacks_itself(node, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "python").symlink_to(os.path.realpath(sys.executable))
    (node.home / ".gpujob/py-spy.lock").mkdir()  # in the way of its installation
    number = submit_stuck(node, str(bare / "python"), kill_stalled=True)
    record = node.wait(number)
    assert (record["state"], record["reason"]) == ("failed", "stalled for 1 s")
    log = node.ask("logs", str(number), "0").decode()
    assert "py-spy is not available" in log
    assert "in wait_for_a_batch" in log


def test_a_job_that_computes_in_silence_does_not_stand_still(node):
    script = b"import time\nend = time.monotonic() + 4\nwhile time.monotonic() < end: pass\n"
    number = node.submit("python", "busy.py", files={"busy.py": script}, hang_after_s=1.0, kill_stalled=True)
    assert node.wait(number)["state"] == "succeeded"
    assert node.ask("logs", str(number), "0") == b""
