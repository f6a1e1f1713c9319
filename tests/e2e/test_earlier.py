"""Jobs that start from what an earlier one wrote: on the machine, or from the results on this computer."""

import json

from tests.conftest import wait_for
from tests.e2e.test_data_sets import receipt
from tests.e2e.test_jobs import job_number

PREPARE = """
import pathlib
pathlib.Path("prepared").mkdir()
pathlib.Path("prepared/part.txt").write_text("prepared")
pathlib.Path("weights.txt").write_text("trained")
pathlib.Path("config.txt").write_text("written by the job")
"""
USE = """
import pathlib, sys
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    print(name, path.read_text() if path.exists() else "is missing")
pathlib.Path("result.txt").write_text("result")
"""


def test_a_job_starts_from_the_outputs_of_an_earlier_one_and_they_are_not_its_own(project):
    project.write("config.txt", "of the project")
    project.write("weights.txt", "of the project")
    project.write("prepare.py", PREPARE)
    project.write("use.py", USE)
    names = ("prepared/part.txt", "weights.txt", "config.txt", "result.txt")
    prepared = project.type("run", "--name", "prepare", "prepare.py")
    assert prepared.code == 0, prepared.said
    number = job_number(prepared.err)
    project.write("config.txt", "changed since")
    used = project.type("run", "--from", "prepare", "use.py", *names)
    assert used.code == 0, used.said
    assert f"2 files of job {number}; kept the project's own versions, changed since: config.txt" in used.out
    assert used.out.endswith(
        "prepared/part.txt prepared\nweights.txt trained\nconfig.txt changed since\nresult.txt is missing\n"
    )
    record = receipt(project, job_number(used.err))
    assert [each["path"] for each in record["outputs"]] == ["result.txt"]
    assert record["job"]["source"]["options"]["start_from"] == f"shared-{number}"

    # what it had from the first is passed on, with what it wrote itself
    third = project.type("run", "--from", "latest", "use.py", *names)
    assert "prepared/part.txt prepared\nweights.txt trained\n" in third.out, third.said
    assert third.out.endswith("result.txt result\n")
    again = project.type("rerun", str(job_number(used.err)))
    assert f"--from shared-{number}" in again.err
    assert "weights.txt trained" in again.out


def test_outputs_of_a_job_that_is_not_on_the_machine_are_uploaded_from_the_results(project):
    project.write("prepare.py", PREPARE)
    project.write("use.py", USE)
    prepared = project.type("run", "prepare.py")
    number = job_number(prepared.err)
    assert project.type("jobs", "rm", "--cluster", "shared", str(number)).code == 0
    used = project.type("run", "--from", str(number), "use.py", "prepared/part.txt", "weights.txt")
    assert used.out.endswith("prepared/part.txt prepared\nweights.txt trained\n"), used.said
    record = receipt(project, job_number(used.err))
    assert [each["path"] for each in record["outputs"]] == ["result.txt"]
    assert record["job"]["source"]["snapshot"] == receipt(project, number)["job"]["source"]["snapshot"]
    missing = project.type("run", "--from", "nothing", "use.py")
    assert missing.code == 1
    assert "no run 'nothing' in this project's runs folder" in missing.err


def test_a_job_that_waits_for_another_holds_up_nobody_and_fails_if_that_one_does(project):
    project.write("slow.py", "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nraise SystemExit(3)\n")
    project.write("use.py", USE)
    slow = project.type("run", "--detach", "--gpus", "0", "slow.py")
    number = job_number(slow.err)
    waiting = project.type("run", "--detach", "--gpus", "0", "--from", str(number), "use.py")
    assert waiting.code == 0, waiting.said
    passing = project.type("run", "--gpus", "0", "--", "echo passed")
    assert passing.out == "passed\n", passing.said
    go = project.type("ssh", "shared", "--", f"touch ~/.gpujob/work/{number}/project/go")
    assert go.code == 0, go.said
    waiter = job_number(waiting.err)

    def record():
        return next(job for job in json.loads(project.type("jobs", "--json").out) if job["number"] == waiter)

    wait_for(lambda: record()["state"] == "failed", "end of the waiting job")
    assert record()["reason"] == f"job {number}, whose outputs it needs, was not successful: failed"
