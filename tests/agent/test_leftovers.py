"""What was left computing on a machine counts as work; what only sits there does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY

LOOK = """
import time
from infra.node.agent.node.leftovers import Leftovers
leftovers = Leftovers(0.5)
while True:
    print(leftovers.work(), flush=True)
    time.sleep(0.05)
"""
# Beside each other below one shell, as guard and tmux are below init: what was left, and who looks at it.
MACHINE = f'{sys.executable} -c "$LEFT" & echo $!; {sys.executable} -c "$LOOK"; wait'


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """A machine on which a program was left; it prints the program's process id, then what is seen of it."""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "LOOK": LOOK, "LEFT": request.param}
    words = ["sh", "-c", MACHINE]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def read_until(machine: "subprocess.Popen[str]", seen: str) -> None:
    for _ in range(600):
        if machine.stdout.readline() == f"{seen}\n":
            return
    raise AssertionError(f"never {seen}")


@pytest.mark.parametrize("machine", ["while True: pass"], indirect=True)
def test_what_computes_is_work_until_it_stops(machine):
    left = int(machine.stdout.readline())
    read_until(machine, "True")
    os.kill(left, signal.SIGSTOP)
    read_until(machine, "False")
    os.kill(left, signal.SIGCONT)
    read_until(machine, "True")


@pytest.mark.parametrize("machine", ["import time; time.sleep(600)"], indirect=True)
def test_what_only_sits_there_is_none(machine):
    machine.stdout.readline()
    read_until(machine, "False")
    looks = [machine.stdout.readline() for _ in range(60)]
    assert looks[-30:] == ["False\n"] * 30  # its own start may have taken a moment
