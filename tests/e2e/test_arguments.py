"""What is typed after `run`: scripts, programs, shell lines, and options in the wrong place."""

import os
from pathlib import Path

import pytest

from tests.conftest import Laptop
from tests.here import Here


@pytest.fixture
def desk(project: Laptop) -> Here:
    """The laptop with the shared cluster, whose commands run in this process; its project has one script."""
    desk = Here(project.home, project.project, project.settings)
    desk.write("learn.py", "import sys; print(sys.argv[1:])")
    return desk


def test_an_option_of_run_after_the_script_is_passed_to_it_with_a_warning(desk):
    run = desk.type("run", "--no-deps", "learn.py", "--gpus", "1", "--detach", "x")
    assert run.out == "['--gpus', '1', '--detach', 'x']\n", run.said
    for flag, instead in {
        "--gpus": "gpujob run --cluster shared --no-deps --gpus 1 learn.py --detach x",
        "--detach": "gpujob run --cluster shared --no-deps --detach learn.py --gpus 1 x",
    }.items():
        warning = f"warning: {flag} is passed to the script, since it comes after it. For gpujob: {instead}\n"
        assert warning in run.err


def test_an_option_that_the_script_or_a_file_near_it_has_is_the_script_s(desk):
    desk.write("learn.py", "import parts, sys; print(sys.argv[1:])  # def main(time_limit: int)")
    desk.write("parts.py", "GPUS = '--gpus'")
    run = desk.type("run", "learn.py", "--gpus", "1", "--time-limit=3", "--epochs", "2")
    assert (run.out, "warning" in run.err) == ("['--gpus', '1', '--time-limit=3', '--epochs', '2']\n", False), run.said


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("--epochs 3 learn.py", "gpujob run learn.py --epochs 3"),
        ("--name x --lr=1 --gpus 1 learn.py --more", "gpujob run --name x --gpus 1 learn.py --lr=1 --more"),
        ("-d --fast learn.py -- --last", "gpujob run -d learn.py --fast -- --last"),
    ],
)
def test_an_option_of_the_script_before_the_script_is_explained(desk, typed, instead):
    refused = desk.type("run", *typed.split())
    assert refused.code == 2, refused.said
    assert f"  next: options of the script go after it: {instead}\n" in refused.err


def test_a_misspelled_option_is_named_and_without_a_script_click_answers(desk):
    refused = desk.type("run", "--gpus", "1", "--gird", "lr=1", "learn.py", "{lr}")
    assert "  next: gpujob run --gpus 1 --grid lr=1 learn.py '{lr}'; or, for" in refused.err, refused.said
    misspelled = desk.type("run", "--detahc", "learn.py").err
    assert "no option --detahc (did you mean --detach?)" in misspelled
    instead = "gpujob run --detach learn.py; or, for an option of the script: gpujob run learn.py --detahc"
    assert misspelled.endswith(f"  next: {instead}\n")
    refused = desk.type("run", "--detahc", "--", "true")
    assert (refused.code, "No such option" in refused.err) == (2, True), refused.said


def test_a_program_runs_as_typed(desk):
    desk.write("Makefile", "train:\n\t@echo made\n")
    assert desk.type("run", "python", "learn.py", "--epochs", "3").out == "['--epochs', '3']\n"
    assert desk.type("run", "make", "train").out == "made\n"
    assert desk.type("run", "true").code == 0


def test_a_program_s_script_must_be_one_that_is_uploaded(desk):
    desk.write(".gitignore", "hidden.py")
    desk.write("hidden.py", "")
    for script, says in {"hidden.py": "'hidden.py' would not be uploaded", "laern.py": "no such script"}.items():
        refused = desk.type("run", "python", script)
        assert (refused.code, says in refused.err) == (2, True), refused.said


@pytest.mark.parametrize("typed", ["learn", "laern", "laern.py"])
def test_a_script_that_does_not_exist_is_answered_with_one_that_does(desk, typed):
    refused = desk.type("run", typed)
    assert refused.code == 2
    run = "gpujob run --cluster shared"
    assert f"no such script: '{typed}'\n  next: {run} learn.py, or as a command: {run} -- {typed}\n" in refused.err


def test_suggestions_name_no_script_where_there_is_none(desk):
    (desk.project / "learn.py").unlink()
    assert "next: gpujob run --cluster shared SCRIPT, or" in desk.type("run").err
    desk.write("test_it.py", "")
    desk.write("b.py", "")
    assert "next: gpujob run --cluster shared b.py, or" in desk.type("run").err
    desk.write("main.py", "")
    assert "next: gpujob run --cluster shared main.py, or" in desk.type("run", "far/away.py").err


def test_a_folder_is_run_as_a_module_if_it_is_one(desk):
    desk.write("tool/__main__.py", "print('main')")
    refused = desk.type("run", "tool")
    assert (refused.code, "'tool' is a folder\n  next: gpujob run --cluster shared -m tool\n" in refused.err) == (
        2,
        True,
    ), refused.said


@pytest.mark.parametrize("typed", [["--", "echo a && echo b; echo $((1+2))"], ["echo a && echo b; echo $((1+2))"]])
def test_one_argument_with_shell_syntax_runs_in_a_shell(desk, typed):
    assert desk.type("run", *typed).out == "a\nb\n3\n"
    assert desk.type("run", "--", "echo", "a && b").out == "a && b\n"


def test_ssh_runs_one_argument_in_a_shell_as_ssh_does(desk, monkeypatch):
    class Replaced(BaseException):
        """What exec does: nothing after it runs."""

    typed = []

    def replace(program: str, words: list[str]) -> None:
        typed.append((Path(program).name, words[words.index("--") :]))
        raise Replaced

    monkeypatch.setattr(os, "execvp", replace)
    for words in (["cd /tmp; pwd"], ["echo", "a; b"]):
        with pytest.raises(Replaced):
            desk.type("ssh", "--", *words)
    assert typed == [("ssh", ["--", "cd /tmp; pwd"]), ("ssh", ["--", "echo 'a; b'"])]
