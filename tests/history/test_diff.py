"""Two runs compared, and their code, from what is on this computer."""

import hashlib
import json
import subprocess

import pytest

from infra.project.files import read_project
from infra.run.source import read_source
from tests.here import move_in, type_here
from tests.history.past import record


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def git(project, *words):
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=project, check=True)


def commit(project):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")


def record_code(project, number, **changes):
    """Leave the results of a job with the code as it is now."""
    code = read_project(project)
    source = read_source(code)
    home = record(project, number, source={"snapshot": code.snapshot, **source.facts}, **changes)
    for name, content in source.records.items():
        (home / name).write_bytes(content)
    return home


def test_two_runs_are_compared_in_command_dependencies_metrics_and_code(project):
    (project / ".gitignore").write_text("runs\n")
    (project / "train.py").write_text("lr = 0.1\n")
    commit(project)
    record_code(project, 1, log="loss 0.5\n", dependencies="aaa")
    (project / "train.py").write_text("lr = 0.2\n")
    record_code(project, 2, log="loss 0.25\n", command=("python", "train.py", "--lr", "2"), dependencies="bbb")
    (project / "train.py").write_text("lr = 0.3\n")
    shown = type_here("diff", "1", "2")
    assert shown.code == 0, shown.said
    table, _, patch = shown.out.partition("\n\n")
    assert [line.split("\t") for line in table.splitlines()] == [
        ["", "project-1", "project-2"],
        ["command", "python train.py", "python train.py --lr 2"],
        ["dependencies", "aaa", "bbb"],
        ["loss", "0.5", "0.25"],
    ]
    assert "-lr = 0.1\n+lr = 0.2\n" in patch
    told = json.loads(type_here("diff", "project-2", "1", "--json").out)
    assert "-lr = 0.2\n+lr = 0.1\n" in told["code"]
    assert told["runs"]["project-2"]["metrics"]["loss"] == 0.25
    same = type_here("diff", "2", "2")
    assert same.out == ""
    assert "the same\nthe code is the same\n" in same.err


def test_code_without_a_commit_or_with_a_changed_patch_is_not_compared(project):
    (project / "train.py").write_text("1\n")
    record_code(project, 1)
    commit(project)
    (project / "train.py").write_text("2\n")
    home = record_code(project, 2)
    assert "run project-1 has no git commit, so its code is not known" in type_here("diff", "1", "2").err
    (home / "changes.patch").write_text("diff")
    (project / "train.py").write_text("3\n")
    record_code(project, 3)
    assert "changes.patch is missing or was modified" in type_here("diff", "2", "3").err


def test_a_commit_that_is_not_in_the_repository_is_named(project):
    (project / "train.py").write_text("1\n")
    commit(project)
    for number in (1, 2):
        record(project, number, source={"commit": hashlib.sha1(b"%d" % number).hexdigest(), "snapshot": str(number)})
    assert "is not in this repository" in type_here("diff", "1", "2").err


def test_a_configuration_of_the_repository_runs_nothing(project):
    (project / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    (project / "train.py").write_text("1\n")
    git(project, "init", "-q")
    for key in ("diff.evil.textconv", "diff.evil.command", "filter.evil.smudge", "core.fsmonitor"):
        git(project, "config", key, f"touch {project}/ran; cat")
    git(project, "add", ".gitattributes")
    git(project, "-c", "filter.evil.clean=cat", "add", "train.py")
    git(project, "-c", "filter.evil.clean=cat", "commit", "-qm", "first")
    (project / "ran").unlink(missing_ok=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    record(project, 1, source={"commit": head.stdout.strip(), "snapshot": "1"})
    record(project, 2, source={"commit": head.stdout.strip(), "snapshot": "2"})
    assert "the code is the same" in type_here("diff", "1", "2").err
    assert not (project / "ran").exists()


def test_a_run_that_is_not_there_or_of_which_there_are_several_is_refused(project):
    record(project, 1, cluster={"name": "one"}, name="best")
    record(project, 1, cluster={"name": "two"})
    several = type_here("diff", "1", "best")
    assert (several.code, "1 is the number of several runs: one-1, two-1" in several.err) == (2, True)
    none = type_here("diff", "one-1", "9")
    assert (none.code, "no run '9' in this project's runs folder\n  next: gpujob runs" in none.err) == (1, True)
    assert type_here("diff", "best", "1", "--cluster", "two").code == 0
