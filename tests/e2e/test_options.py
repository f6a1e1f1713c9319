"""What `run` is told: secrets that stay secret, where to run, when a job stands still; and the receipt of it all."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import psutil

from cli.facts.jobs import flat_facts, receipt_facts
from tests.conftest import Laptop, wait_for
from tests.e2e.test_jobs import job_number

SECRET = "correct-horse-battery"


def test_a_secret_reaches_the_job_and_nothing_else(project):
    laptop = Laptop(project.home, project.project, {**project.settings, "TOKEN": SECRET})
    laptop.write(
        "use.py",
        "import hashlib, os, sys, time\n"
        "token = os.environ['TOKEN']\n"
        "print(hashlib.sha256(token.encode()).hexdigest())\n"
        "for piece in ('a:', token[:7], token[7:], ':z'): print(piece, end='', flush=True); time.sleep(0.1)\n"
        "print(token, file=sys.stderr)\n"
        "while not os.path.exists('../go'): time.sleep(0.05)\n",
    )
    number = job_number(laptop.type("run", "--detach", "--secret", "TOKEN", "use.py").err)
    shown = f"{hashlib.sha256(SECRET.encode()).hexdigest()}\na:***:z***\n"
    wait_for(lambda: laptop.type("logs", str(number)).out == shown, "masked log")
    assert not [p for p in psutil.process_iter(["cmdline"]) if SECRET in " ".join(p.info["cmdline"] or [])]
    [folder] = Path(laptop.home).glob(f".local/state/gpujob/local/hosts/*/home/.gpujob/work/{number}")
    (folder / "go").touch()
    assert laptop.type("wait", str(number)).code == 0
    assert laptop.type("fetch", str(number)).code == 0
    said = laptop.type("receipt", str(number)).said + laptop.type("jobs", "--json").said
    assert SECRET not in said
    for root in (laptop.home, laptop.project):
        for path in root.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_secret_too_short_to_be_masked_is_told_and_one_that_a_record_would_show_refused(project):
    laptop = Laptop(project.home, project.project, {**project.settings, "FLAG": "1", "TOKEN": "s3cr3t-s3cr3t"})
    short = laptop.type("run", "--secret", "FLAG", "--", "sh", "-c", "echo 12 $FLAG 1")
    assert (short.code, short.out) == (0, "12 1 1\n")
    assert "warning: FLAG is not masked in the job's log: it is shorter than 4 characters" in short.err
    shown = (
        ("--", "echo", "s3cr3t-s3cr3t"),
        ("--name", "s3cr3t-s3cr3t", "--", "true"),
        ("-e", "A=xs3cr3t-s3cr3t", "--", "true"),
    )
    for words in shown:
        refused = laptop.type("run", "--secret", "TOKEN", *words)
        assert (refused.code, "contains the value of TOKEN" in refused.err) == (2, True)
        assert "s3cr3t" not in refused.said


def test_a_secret_that_is_not_set_is_asked_for_or_refused(project):
    run = project.type("run", "--secret", "NOT_SET_ANYWHERE", "--", "true")
    assert run.code == 2
    assert "NOT_SET_ANYWHERE is not set, and there is no terminal" in run.err


def test_a_job_runs_in_the_folder_that_it_was_told(project):
    project.write("sub/where.py", "import os, sys; print(os.getcwd(), sys.argv[0])")
    run = project.type("run", "--workdir", "sub", "sub/where.py")
    assert run.out.endswith("/project/sub where.py\n"), run.said
    assert project.type("run", "--workdir", "sub", "where.py").out.endswith("/project/sub where.py\n")
    outside = project.type("run", "--workdir", "/", "sub/where.py")
    assert outside.code == 2
    assert "outside the project" in outside.err


def test_a_stalled_job_is_shown_as_such_and_ended_on_demand(project):
    project.write("stuck.py", "import time\nprint('begun')\ntime.sleep(600)\n")
    run = project.type("run", "--hang-after", "3s", "--kill-stalled", "stuck.py")
    assert run.code in (143, 134), (
        run.said
    )  # by SIGTERM; aborted where no py-spy could be had, so that it writes its stacks
    assert "stalled for 3 s" in run.err
    assert re.search(r'stuck\.py(:3|", line 3)', run.out), run.out


def test_the_receipt_tells_all_of_a_job_and_so_do_jobs_and_it_stays_when_the_machine_is_gone(project):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(project.project)]
    project.write("train.py", "open('model.pt', 'w').write('weights')")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    project.write("train.py", "open('model.pt', 'w').write('weights')  # changed")
    number = job_number(project.type("run", "--name", "best", "train.py").err)
    home = project.project / f"runs/shared-{number}"
    receipt = json.loads((home / "receipt.json").read_text())
    assert [state for state, _ in receipt["states"]] == ["queued", "running", "succeeded"]
    assert receipt["states"] == sorted(receipt["states"], key=lambda state: state[1])
    patch = hashlib.sha256((home / "changes.patch").read_bytes()).hexdigest()
    assert receipt["job"]["source"]["changes_sha256"] == patch
    assert receipt["image"].startswith("ami-")
    assert (receipt["market"], receipt["driver"]) == ("on-demand", "")
    assert receipt["usd"] > 0
    assert [output["sha256"] for output in receipt["outputs"]] == [hashlib.sha256(b"weights").hexdigest()]

    [listed] = [job for job in json.loads(project.type("jobs", "--json").out) if job["number"] == number]
    assert listed == flat_facts(receipt)

    stranger = Laptop(project.project / "elsewhere", project.project, {"GPUJOB_CLUSTER": "shared"})
    assert f"job {number} is the latest downloaded job" in stranger.type("receipt").err
    shown = stranger.type("receipt", str(number))
    assert shown.code == 0, shown.said
    for fact in (
        "best",
        "python train.py",
        ", modified: changes.patch",
        "succeeded (exit 0)",
        "g4dn.xlarge",
        "model.pt",
    ):
        assert fact in shown.out
    told = json.loads(stranger.type("receipt", "--json", str(number)).out)
    assert told == {**receipt_facts(receipt), "results": str(home)}
