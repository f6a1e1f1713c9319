"""Completion as a shell asks for it: from local records, quickly, and without a message."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.commands import COMMANDS
from cli.completion.answers import SHELLS
from tests.conftest import COMMAND, REPOSITORY, Laptop, make_laptop
from tests.here import move_in, type_here

NODE = {"instance_id": "i-1", "state": "running", "host": "", "port": 22, "instance_type": "g5.xlarge", "zone": "a"}
CLUSTER = {
    **{"cloud": "aws", "region": "eu-south-2", "nodes": [NODE], "gpu": "A10G:1", "price_usd": 1.0},
    **{"lease_until": 0, "launched_at": 0, "owner": "me"},
}


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    """Return a laptop with two clusters and a few jobs in its records."""
    laptop = make_laptop(tmp_path)
    state = laptop.home / ".local/state/gpujob"
    for name in ("project", "second"):
        write(state / f"clusters/{name}/cluster.json", {"name": name, **CLUSTER})
    write(state / "images/cake", "")
    for number in (2, 11):
        write(state / f"submissions/project/{number}.json", {"instance_id": "i-1", "project": str(laptop.project)})
    job = {"number": 2, "name": "resnet", "state": "failed"}
    write(laptop.project / "runs/project-2/receipt.json", {"job": job, "cluster": "project"})
    write(laptop.project / "runs/project-3/receipt.json", {"job": {"number": 3, "name": "$(reboot) *"}})
    write(laptop.project / "runs/project-4/receipt.json", ["nonsense"])
    return laptop


def write(path: Path, facts: object) -> None:
    """Write a file of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))


def complete(laptop: Laptop, line: str, shell: str = "bash", **variables: str) -> list[str]:
    """Return the answers to a shell for the last word of a line, with their kinds."""
    asked = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(f"{line}.".split()) - 1),
        "_GPUJOB_COMPLETE": f"{shell}_complete",
    }
    ended = subprocess.run(
        COMMAND,
        cwd=laptop.project,
        env=laptop.environment | asked | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("gpujob dow", ["plain,down"]),
        ("gpujob down ", ["plain,project", "plain,second"]),
        ("gpujob jobs --cluster s", ["plain,second"]),
        ("gpujob logs ", ["plain,11", "plain,3", "plain,2", "plain,resnet"]),
        ("gpujob logs --cluster second ", [""]),
        ("gpujob up --gpu h", ["plain,H100", "plain,H200"]),
        ("gpujob up --image ", ["plain,dlami", "plain,dlami-al2023", "plain,ubuntu", "plain,cake"]),
        ("gpujob setup --tags ssh,u", ["plain,ssh,updates", "plain,ssh,uv"]),
        ("gpujob run --de", ["plain,--detach"]),
        ("gpujob run train.py --de", [""]),
        ("gpujob run tr", ["file,tr"]),
        ("gpujob run train.py --data ph", ["file,ph"]),
    ],
)
def test_a_word_is_completed_from_local_records(laptop, line, answers):
    assert complete(laptop, line) == answers


def test_regions_begin_with_those_in_use(laptop):
    answers = complete(laptop, "gpujob up --region ")
    assert answers[0] == "plain,eu-south-2"
    assert len(answers) == len({*answers}) > 20


def test_every_shell_gets_values_and_descriptions(laptop):
    assert "g5.xlarge, eu-south-2" in complete(laptop, "gpujob down s", "zsh")
    assert complete(laptop, "s", "fish", COMP_WORDS="gpujob down ", COMP_CWORD="s") == [
        "plain,second\tg5.xlarge, eu-south-2"
    ]


def test_an_error_is_not_shown(laptop):
    state = laptop.home / ".local/state"
    shutil.rmtree(state / "gpujob")
    (state / "gpujob").write_text("not a folder")
    assert complete(laptop, "gpujob down ") == []
    assert complete(laptop, "gpujob down ", COMP_CWORD="nonsense") == []


def test_no_library_that_reaches_a_cloud_is_loaded(laptop, tmp_path):
    for name in ("boto3", "fabric", "paramiko"):
        write(tmp_path / f"trap/{name}.py", {})
        (tmp_path / f"trap/{name}.py").write_text("raise SystemExit(1)")
    trap = str(tmp_path / "trap")
    assert complete(laptop, "gpujob logs ", PYTHONPATH=trap)[0] == "plain,11"
    assert complete(laptop, "gpujob down ", PYTHONPATH=trap)[0] == "plain,project"


def test_every_command_is_loaded_without_these_libraries():
    load = "from cli.main import gpujob; from cli.completion.imports import avoid_connections"
    load += "; avoid_connections(); print(len([*gpujob.commands.values()]))"
    ended = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert int(ended.stdout) == len(COMMANDS), ended.stderr


def program(laptop: Laptop, shell: str) -> str:
    """Put the command on the path of a laptop; return that path."""
    folder = laptop.home / "bin"
    folder.mkdir()
    script = folder / "gpujob"
    script.write_text(f'#!/bin/sh\nexec {COMMAND[0]} {COMMAND[1]} "$@"\n')
    script.chmod(0o755)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_itself_completes_after_install(laptop, shell):
    path = program(laptop, shell)
    assert laptop.type("completion", shell, "--install").code == 0
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [shell, "-i"],
        cwd=laptop.project,
        env=laptop.environment | {"PATH": path, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            os.write(ours, b"echo re''ady\n")
            assert "ready" in wait_for(ours, "ready")  # whatever its prompt is
            os.write(ours, b"gpujob down sec\t")
            assert "down second" in wait_for(ours, "down second")
        finally:
            process.kill()
            os.close(ours)


def wait_for(terminal: int, text: str) -> str:
    """Return what a terminal shows until a text appears, or for 90 s."""
    said, deadline = "", time.monotonic() + 90
    while text not in said and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 4096).decode(errors="replace").replace("\x07", "")
    return said


@pytest.mark.parametrize("shell", SHELLS)
def test_installing_twice_changes_the_startup_file_once(tmp_path, monkeypatch, shell):
    move_in(tmp_path, monkeypatch)
    (tmp_path / ".bashrc").write_text("alias x=y")
    files = [type_here("completion", shell, "--install").err.count("wrote") for _ in range(2)]
    assert files == ([1, 1] if shell == "fish" else [2, 1])
    bashrc = (tmp_path / ".bashrc").read_text()
    assert bashrc.startswith("alias x=y")
    assert bashrc.count("# gpujob completion") == (shell == "bash")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_unless_installed(tmp_path, monkeypatch, shell):
    move_in(tmp_path, monkeypatch)
    said = type_here("completion", shell)
    assert (said.code, said.err) == (0, "")
    assert "_gpujob_completion" in said.out
    assert not [*tmp_path.glob(".*rc")]
