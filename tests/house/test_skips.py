"""Where CI=true no test is skipped quietly."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no CUDA device here")
def test_gpu(): pass

@pytest.mark.skipif(True, reason="no sshd")
def test_mark(): pass

def test_call(): pytest.skip("no uv")

@pytest.fixture
def machine(): pytest.skip("no root")

def test_fixture(machine): pass

@pytest.mark.xfail
def test_known(): assert False

def test_fine(): pass
"""


@pytest.fixture
def outcomes(tmp_path):
    """Run some tests, each in its own way, and count how they end."""
    (tmp_path / "conftest.py").write_text("from tests.skips import *\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(ci: str, *words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CI": ci}
        environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "xdist.plugin",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]
        run = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return run.stdout.splitlines()[-1].partition(" in ")[0]

    return run


def test_an_unexpected_skip_fails_in_ci_with_several_processes_too(outcomes):
    assert outcomes("true", "-n", "1") == "1 failed, 1 passed, 1 skipped, 1 xfailed, 3 errors"


def test_a_skip_is_a_skip_elsewhere(outcomes):
    assert outcomes("") == "1 passed, 5 skipped, 1 xfailed"
