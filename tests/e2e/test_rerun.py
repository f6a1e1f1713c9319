"""A job run again: with the code of now, or with that of then."""

import json
import subprocess

from tests.e2e.test_jobs import job_number

FIRST = "import os, sys\nprint('first', sys.argv[1:], os.environ.get('LR'), os.path.basename(os.getcwd()))\n"


def git(project, *words):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(project.project)]
    subprocess.run([*git, *words], check=True)


def test_a_job_runs_again_with_its_options_and_the_code_of_now_or_then(project):
    project.write("sub/train.py", "print('committed')\n")
    project.write("data.txt", "then\n")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    project.write("sub/train.py", FIRST)
    words = ("--name", "best", "--env", "LR=1", "--workdir", "sub", "sub/train.py", "--deep")
    first = project.type("run", *words)
    assert first.out == "first ['--deep'] 1 sub\n", first.said
    number = job_number(first.err)
    project.write("sub/train.py", FIRST.replace("first", "second"))
    git(project, "add", ".")
    git(project, "commit", "-qm", "second")

    refused = project.type("rerun", str(number))
    assert refused.code == 2
    assert f"next: gpujob rerun shared-{number} --env LR=...\n" in refused.err
    again = project.type("rerun", "best", "--env", "LR=2")
    assert (again.code, again.out) == (0, "second ['--deep'] 2 sub\n"), again.said
    assert "running again: gpujob run --cluster shared --workdir sub --name best -- python train.py --deep" in again.err

    then = project.type("rerun", str(number), "--as-it-was", "--env", "LR=1")
    assert (then.code, then.out) == (0, "first ['--deep'] 1 sub\n"), then.said
    assert "may differ" not in then.err
    runs = project.project / "runs"
    old, new = (
        json.loads((runs / f"shared-{each}/receipt.json").read_text())["job"] for each in (number, job_number(then.err))
    )
    assert new["source"] == old["source"]
    assert (runs / f"shared-{job_number(then.err)}/changes.patch").read_bytes() == (
        runs / f"shared-{number}/changes.patch"
    ).read_bytes()
    assert (project.project / "sub/train.py").read_text() == FIRST.replace("first", "second")

    failing = project.type("rerun", "--detach", "--env", "LR=3", str(number))
    assert failing.code == 0
    assert project.type("wait", str(job_number(failing.err))).code == 0
