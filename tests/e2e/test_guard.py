"""What the machine does by itself: it ends when nothing uses it, and tells its jobs when its lease is about to end."""

import json
import os
import shlex
import signal
import sys
import time

import pytest

from tests.cloudwatch import has_machines, keep_alive, living_clusters, watch
from tests.conftest import epoch, wait_for

pytestmark = pytest.mark.timeout(400)

IDLE_S = 20  # how long a machine may be idle here: a busy computer needs some of that to type the next command
COMPUTES = """
import time
while True:
    end = time.process_time() + 0.01
    while time.process_time() < end:
        pass
    time.sleep(0.1)
"""
CATCHES_SIGTERM = """
import pathlib, signal, sys, time
def finish(*_):
    print("told to finish", flush=True)
    pathlib.Path("model.bin").write_text("weights")
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
print("training", flush=True)
time.sleep(600)
"""


def check_gone(laptop) -> None:
    """Wait until the machine has ended, which `ls` then says."""
    wait_for(lambda: not has_machines(laptop), "end of the machine")
    assert "gone" in laptop.type("ls", "--dry-run").out


def test_a_machine_that_nothing_uses_ends_itself_but_not_with_outputs_a_login_or_what_was_left_computing(laptop):
    """Three machines at a time, so that one wait does for all of them."""
    laptop.write("work.py", "open('model.bin', 'w').write('weights')")

    def launch(name: str) -> None:
        up = laptop.type("up", name, "--dry-run", "--idle-stop", f"{IDLE_S}s")
        assert (up.code, "idle, once all outputs are downloaded" in up.err) == (0, True), up.said

    launch("outputs")
    assert laptop.type("run", "--cluster", "outputs", "--detach", "work.py").code == 0
    assert laptop.type("wait", "--cluster", "outputs").code == 0
    launch("login")
    login = laptop.start("ssh", "login", "--", "sh", "-c", f"sleep {IDLE_S + 2}; echo still there")
    launch("left")
    left = f"nohup {shlex.join([sys.executable, '-S', '-c', COMPUTES])} > /dev/null 2>&1 & echo $!"
    pid = int(laptop.type("ssh", "left", "--", "sh", "-c", left).out)
    time.sleep(IDLE_S + 4)  # longer than they may be idle
    assert {"outputs", "left"} <= living_clusters(laptop)
    assert login.communicate(timeout=120)[0] == b"still there\n"
    os.kill(pid, signal.SIGKILL)
    assert laptop.type("fetch", "--cluster", "outputs").code == 0
    check_gone(laptop)
    assert (laptop.project / "runs/outputs-1/files/model.bin").read_text() == "weights"
    assert [laptop.type("down", name).code for name in ("outputs", "login", "left")] == [0, 0, 0]


def test_jobs_are_told_before_the_lease_ends_and_an_extended_one_holds_on_the_machine_and_in_the_tags(laptop):
    """Two machines with leases of 45 s, of which the last tenth is the warning; one is extended."""
    laptop.write("train.py", CATCHES_SIGTERM)
    assert laptop.type("up", "told", "--dry-run", "--max-hours", "0.0125").code == 0
    run = laptop.start("run", "--cluster", "told", "train.py")
    assert laptop.type("up", "extended", "--dry-run", "--max-hours", "0.0125").code == 0
    extend = laptop.type("extend", "extended", "1h")
    assert (extend.code, "at most" in extend.err) == (0, True), extend.said
    found = {each["name"]: each for each in json.loads(laptop.type("ls", "--json").out)}
    until = epoch(found["extended"]["lease_until"])
    assert until - time.time() > 3000
    assert int(laptop.type("ssh", "extended", "--", "gpujob-lease").out) == int(until)

    out, err = run.communicate(timeout=120)
    assert b"told to finish" in out, err
    assert b"the lease, and with it the machine, ends soon" in out
    assert run.returncode == 0
    time.sleep(max(0, until - 3600 - time.time()) + 1)
    wait_for(lambda: living_clusters(laptop) == {"extended"}, "end of the machine that was not extended")
    assert "gone" in laptop.type("ls", "--dry-run").out


def test_jobs_are_told_before_the_spot_market_takes_the_machine_and_count_as_preempted(laptop):
    laptop.write("train.py", CATCHES_SIGTERM)
    laptop.write("deaf.py", "import signal, time; signal.signal(15, signal.SIG_IGN); print('on'); time.sleep(600)")
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))  # so that it can say why the machine ended
    assert laptop.type("up", "--dry-run", "--spot").code == 0
    run = laptop.start("run", "train.py")
    assert run.stdout.readline() == b"training\n"
    stopped = laptop.start("run", "--gpus", "0", "--", "sh", "-c", "echo on; sleep 600")
    assert stopped.stdout.readline() == b"on\n"
    deaf = laptop.start("run", "--gpus", "0", "deaf.py")
    assert deaf.stdout.readline() == b"on\n"
    assert laptop.type("local", "fault", "interrupt=15").code == 0
    said = run.communicate(timeout=120)[0].decode()
    assert "AWS reclaims this spot machine at 20" in said
    assert "told to finish" in said
    assert run.returncode == 0
    assert (laptop.project / "runs/project-1/files/model.bin").read_text() == "weights"
    said = stopped.communicate(timeout=120)[1].decode()
    assert (stopped.returncode, "job 2 preempted (exit 143) after " in said) == (143, True), said
    check_gone(laptop)
    said = deaf.communicate(timeout=120)[1].decode()
    home = laptop.project / "runs/project-3"
    assert (deaf.returncode, f"job 3 was preempted; what was downloaded is in {home}\n" in said) == (1, True), said
    states = [laptop.type("receipt", str(number)).out for number in (1, 2, 3)]
    shown = [next(line.split(None, 1)[1] for line in out.splitlines() if line.startswith("  state")) for out in states]
    assert shown == ["succeeded (exit 0)", "preempted (exit 143)", "preempted"]


@pytest.mark.parametrize("words", [("--hours", "0"), ("--hours", "soon"), ()])
def test_an_extension_that_makes_no_sense(laptop, words):
    assert laptop.type("extend", *words).code == 2
