"""`run notebook.ipynb`: executed on the machine by the project's own nbconvert, and downloaded with its results."""

import json

import pytest

from tests.conftest import Laptop
from tests.here import Here


@pytest.fixture
def desk(project: Laptop) -> Here:
    """The laptop with the shared cluster, whose commands run in this process."""
    return Here(project.home, project.project, project.settings)


def write_notebook(desk: Here, name: str, code: str, **metadata) -> None:
    cell = {"cell_type": "code", "id": "a1", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
    desk.write(name, json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))


def test_a_notebook_comes_with_its_results_whatever_its_kernel_is_called_on_this_computer(desk):
    code = "import os\nopen('seen.txt', 'w').write('x')\nprint(6 * 7, os.environ['LR'])"
    write_notebook(
        desk, "sub/learn.ipynb", code, kernelspec={"name": "mine", "display_name": "x", "language": "python"}
    )
    run = desk.type("run", "--env", "LR=3", "sub/learn.ipynb")
    assert run.code == 0, run.said
    [home] = (desk.project / "runs").glob("shared-*")
    [cell] = json.loads((home / "files/sub/learn.ipynb").read_text())["cells"]
    assert (cell["execution_count"], cell["outputs"][0]["text"]) in [(1, ["42 3\n"]), (1, "42 3\n")]
    assert (home / "files/sub/seen.txt").read_text() == "x"
    assert "not downloaded (outside the working folder)" not in run.err
    [own] = json.loads((desk.project / "sub/learn.ipynb").read_text())["cells"]
    assert own["outputs"] == []


def test_a_cell_that_fails_fails_the_job_with_its_traceback(desk):
    write_notebook(desk, "fail.ipynb", "1 / 0")
    run = desk.type("run", "fail.ipynb")
    assert (run.code, "ZeroDivisionError" in run.out, "not installed" in run.err) == (1, True, False), run.said


def test_a_missing_nbconvert_is_said(desk):
    desk.write("nbconvert.py", "raise ModuleNotFoundError(\"No module named 'nbconvert'\")")
    write_notebook(desk, "learn.ipynb", "1")
    run = desk.type("run", "learn.ipynb")
    missing = "nbconvert is not installed for this job: add nbconvert and ipykernel to requirements.txt, then rerun\n"
    assert (run.code, missing in run.err) == (1, True), run.said


def test_what_cannot_be_executed_is_refused_before_the_upload(desk):
    write_notebook(desk, "learn.ipynb", "1")
    refused = desk.type("run", "learn.ipynb", "--lr", "3")
    assert refused.code == 2
    assert "next: gpujob run --cluster shared --env NAME=VALUE learn.ipynb\n" in refused.err
    for text in ("", "[]", '{"metadata": 1}', "[" * 100_000):
        desk.write("broken.ipynb", text)
        refused = desk.type("run", "broken.ipynb")
        assert (refused.code, "'broken.ipynb' is not a Jupyter notebook" in refused.err) == (2, True), refused.said
