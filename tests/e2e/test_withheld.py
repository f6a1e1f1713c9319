"""What is not uploaded is said once, and what to do about it."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Laptop
from tests.here import Here


@pytest.fixture
def desk(project: Laptop) -> Here:
    """The laptop with the shared cluster, whose commands run in this process."""
    return Here(project.home, project.project, project.settings)


def test_what_is_withheld_is_said_when_there_is_something_new_and_not_with_every_run(project):
    project.write("train.py", "import os\nprint(*map(os.path.lexists, ('.env', 'notes.txt')))\n")
    project.write(".env", "TOKEN=x")
    first, second = project.type("run", "train.py"), project.type("run", "train.py")
    assert "not uploaded (may contain secrets): '.env'; to upload it, add it to [sync] include" in first.err
    assert "not uploaded" not in second.err
    (project.project / "notes.txt").symlink_to("/etc/hostname")
    third = project.type("run", "train.py")
    assert "not uploaded (may contain secrets): '.env'" in third.err
    assert "not uploaded (points outside the project): 'notes.txt'; to upload its target" in third.err
    assert third.out == "False False\n"


def test_a_script_that_is_not_uploaded_is_refused_with_the_reason(project):
    (project.project / "linked.py").symlink_to(Path(__file__))
    refused = project.type("run", "linked.py")
    assert refused.code == 2
    assert "'linked.py' would not be uploaded: points outside the project" in refused.err
    assert "replace the link with a copy" in refused.err


def test_new_files_of_a_run_are_in_the_patch_and_large_ones_in_the_record(project):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(project.project)]
    project.write("train.py", "import helper\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"], ["config", "color.ui", "always"]):
        subprocess.run([*git, *words], check=True)
    project.write("helper.py", "print('helped')\n")
    project.write("data.bin", b"\1" * (2 << 20))
    run = project.type("run", "train.py")
    assert (run.code, run.out) == (0, "helped\n"), run.said
    [folder] = project.project.glob("runs/shared-*")
    subprocess.run([*git, "clone", "-q", ".", "clone"], cwd=project.project, check=True)
    subprocess.run(["git", "apply", str(folder / "changes.patch")], cwd=project.project / "clone", check=True)
    assert (project.project / "clone/helper.py").read_text() == "print('helped')\n"
    record = json.loads((folder / "changes.json").read_text())
    assert [(file["path"], file["reason"]) for file in record["files"]] == [("data.bin", "large")]
    assert "modified: changes.patch and changes.json" in project.type("receipt").out


def test_an_argument_that_is_not_uploaded_is_named_before_the_start_and_after_the_failure(desk):
    desk.write(".gitignore", "*.csv\nweights/\n")
    desk.write("data/train.csv", "1")
    desk.write("weights/a.bin", "1")
    desk.write("read.py", "import sys\nfor name in sys.argv[1:]: open(name.partition('=')[2] or name)\n")
    run = desk.type("run", "-e", "W=weights", "read.py", "read.py", "--x=data/train.csv")
    line = "not uploaded: 'data/train.csv' (.gitignore line 1 (*.csv)); in gpujob.toml, below [sync]: include = "
    assert f'{line}["data/train.csv"]\n' in run.err, run.said
    assert "not uploaded: 'weights' (.gitignore line 2 (weights/)); in gpujob.toml, below [sync]: " in run.err
    assert run.err.index(line) < run.err.index("job ")
    after = "'data/train.csv' (.gitignore line 1 (*.csv)): it is on this computer, but was not uploaded.\n"
    assert f'{after}  Upload it: in gpujob.toml, below [sync]: include = ["data/train.csv"]\n' in run.err
    desk.write("gpujob.toml", '[sync]\ninclude = ["data/train.csv"]\n')
    again = desk.type("run", "read.py", "read.py", "--x=data/train.csv")
    assert (again.code, "uploaded: '" in again.err) == (0, False), again.said
