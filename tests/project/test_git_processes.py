"""How many git processes a command starts, since each costs a few milliseconds and a run should cost a few seconds."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Finished, Laptop

MOST = 3


class Counted:
    """A project in a repository, on a laptop whose git writes down each start."""

    def __init__(self, laptop: Laptop, folder: Path) -> None:
        self.log = folder / "log"
        program = folder / "bin" / "git"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{self.log}'\nexec '{shutil.which('git')}' \"$@\"\n")
        program.chmod(0o755)
        path = f"{program.parent}:{laptop.environment['PATH']}"
        self.laptop = replace(laptop, project=folder / "project", settings={**laptop.settings, "PATH": path})
        self.laptop.project.mkdir()

    def git(self, *words: str) -> None:
        """Run git, uncounted."""
        who = ("-c", "user.name=n", "-c", "user.email=e")
        subprocess.run(["git", *who, *words], cwd=self.laptop.project, check=True, capture_output=True)

    def type(self, *words: str) -> tuple[Finished, list[str]]:
        """Run a command; return how it ended and what it started git with."""
        self.log.write_text("")
        finished = self.laptop.type(*words)
        return finished, self.log.read_text().splitlines()


@pytest.fixture
def counted(project: Laptop, tmp_path: Path) -> Counted:
    """A repository with a commit and a file each that is modified, deleted, untracked and ignored since."""
    counted = Counted(project, tmp_path / "counted")
    for name, text in {"train.py": "print('old')\n", ".gitignore": "*.log\ndata/\n", "gone.py": "x\n"}.items():
        counted.laptop.write(name, text)
    counted.git("init", "-q")
    counted.git("add", "--all")
    counted.git("commit", "-qm", "first")
    counted.laptop.write("train.py", "print('new')\n")
    counted.laptop.write("package/new.py", "x\n")
    counted.laptop.write("out.log", "x\n")
    counted.laptop.write("data/big.csv", "x\n")
    (counted.laptop.project / "gone.py").unlink()
    return counted


def test_a_run_starts_git_three_times_at_most(counted):
    for _ in ("without results in the project", "with the first run's results in it"):
        run, started = counted.type("run", "train.py")
        assert (run.code, run.out) == (0, "new\n"), run.said
        assert 0 < len(started) <= MOST, "\n".join(started)


@pytest.mark.parametrize(
    "words", [("ls",), ("jobs",), ("fetch",), ("up", "other", "--plan", "--dry-run")], ids=" ".join
)
def test_a_command_that_uploads_nothing_starts_no_git(counted, words):
    assert counted.laptop.type("run", "train.py").code == 0
    command, started = counted.type(*words)
    assert command.code == 0, command.said
    assert started == []
