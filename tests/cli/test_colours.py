"""Colours of states: on a terminal only, and not with NO_COLOR."""

import os
import pty
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.here import type_here

SHOW = """
import sys
from cli.terminal import show
states = ("running", "queued", "failed", "cancelled")
show.listing([{"name": "failed", "state": state} for state in states], False)
show.say("job 1 failed", colour=show.STATES["failed"])
"""
RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"


def show(terminal: bool, **variables: str) -> str:
    """Return what a listing with each state shows."""
    near, far = pty.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-c", SHOW],
        cwd=REPOSITORY,
        env=kept | {"TERM": "xterm", "COLUMNS": "80", "LINES": "40", **variables},
        stdout=far if terminal else subprocess.PIPE,
        stderr=far if terminal else subprocess.STDOUT,
    ) as process:
        os.close(far)
        said = b"" if terminal else process.communicate(timeout=120)[0]
        try:
            while terminal and (more := os.read(near, 65536)):
                said += more
        except OSError:  # that is how a terminal ends
            pass
    os.close(near)
    return said.decode()


def test_states_have_colours_on_a_terminal():
    said = show(terminal=True)
    for colour, state in ((GREEN, "running"), (YELLOW, "queued"), (RED, "failed")):
        assert f"{colour}{state}" in said
    assert f"{RED}job 1 failed" in said
    assert said.count(f"{RED}failed") == 1  # a name is no state


@pytest.mark.parametrize(("terminal", "variables"), [(False, {}), (True, {"NO_COLOR": "1"})])
def test_there_are_no_colours_in_a_pipe_or_with_no_color(terminal, variables):
    said = show(terminal, **variables)
    assert "running" in said
    assert not any(colour in said for colour in (RED, GREEN, YELLOW))


def test_the_flag_is_the_same_as_the_variable(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert type_here("--no-color", "policy").code == 0
    assert os.environ["NO_COLOR"] == "1"
