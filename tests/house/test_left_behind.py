"""A test that leaves a process, a port or a file behind fails, and its name is told; one that tidies up does not."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY

TESTS = """
import os, signal, socket, subprocess, sys
import pytest
from tests import leftovers

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
kept = []

def test_process():
    kept.append(subprocess.Popen(SLEEP))

def test_daemon(tmp_path):
    subprocess.run(["sh", "-c", "setsid sleep 3 > /dev/null 2>&1 &"], env={**os.environ, "HOME": str(tmp_path)})

def test_port():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_file():
    open("made.txt", "w").close()

@pytest.fixture
def process():
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()

def test_tidy(process, tmp_path):
    with socket.create_server(("127.0.0.1", 0)):
        (tmp_path / "made.txt").write_text("")

@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    for one in kept:
        one.kill() if isinstance(one, subprocess.Popen) else one.close()
"""
CONFTEST = """
from pathlib import Path
from tests import leftovers
leftovers.REPOSITORY, leftovers.GRACE_S = Path.cwd(), 0.3
def pytest_configure(config): config.pluginmanager.register(leftovers)
"""


def test_what_is_left_behind_fails_the_test_that_left_it(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    words += ["-c", os.devnull, "--basetemp", str(tmp_path / "temporary"), str(tmp_path)]
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    ended = {line.partition(" - ")[0] for line in said.splitlines() if line.startswith(("ERROR", "FAILED"))}
    assert ended == {f"ERROR test_some.py::test_{name}" for name in ("process", "daemon", "port", "file")}, said
    assert "5 passed, 4 errors" in said.splitlines()[-1]
