"""A machine that is left running says so, and run --down ends it once, and only once, nothing can be lost by that."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudwatch import has_machines
from tests.conftest import Laptop, wait_for
from tests.here import Here

REMINDER = re.compile(
    r"project is still running: not billed \(\$0\.54/h on AWS\), ends itself at \d\d:\d\d"
    r" or after 1 h idle once all outputs are downloaded\n +Terminate it: gpujob down project\n"
)
WAITS = """
import pathlib, sys, time
print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)
pathlib.Path("model.bin").write_text("weights")
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with its project's own cluster up; a test that ends it brings up the next."""
    folder = tmp_path_factory.mktemp("ending")
    (folder / "project").mkdir()
    machine = Here(folder, folder / "project")
    machine.write("fail.py", "open('model.bin', 'w').write('weights'); raise SystemExit(3)")
    machine.write("wait.py", WAITS)
    try:
        yield machine
    finally:
        machine.give_back()


@pytest.fixture(autouse=True)
def cluster(up: Laptop) -> None:
    if not has_machines(up):
        assert up.type("up", "--dry-run").code == 0


def start_waiting(laptop: Laptop, *options: str) -> "tuple[object, Path]":
    """Start to run a job that waits for a file; return the process, once the job runs, and the file."""
    go = laptop.home / f"go-{len(list(laptop.home.iterdir()))}"
    process = laptop.start("run", *options, "wait.py", str(go))
    assert process.stdout.readline() == b"begun\n"
    return process, go


def test_whoever_leaves_a_machine_running_is_told_what_it_costs_and_how_to_end_it(up):
    run = up.type("run", "fail.py")
    assert (run.code, len(REMINDER.findall(run.err)), "still running" in run.out) == (3, 1, False), run.said
    number = re.search(r"^job (\d+) on", run.err, re.MULTILINE)[1]
    for words in (["wait", number], ["logs", "-f", number], ["fetch", number], ["run", "--detach", "fail.py"]):
        typed = up.type(*words)
        assert len(REMINDER.findall(typed.err)) == 1, typed.said
    assert "still running" not in up.type("logs", number).said
    assert "still running" not in up.type("jobs", "--json").said
    assert "warning: --down is passed to the script, since it comes after it" in up.type("run", "fail.py", "--down").err
    failed = up.type("fetch", number, "--pattern", "*.nothing")
    assert (failed.code, len(REMINDER.findall(failed.err))) == (1, 1), failed.said


def test_a_job_that_is_left_goes_on_and_so_does_its_machine_also_with_down(up):
    process, go = start_waiting(up, "--down")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, said
    [number] = re.findall(r"job (\d+) keeps running on project\.\n  Follow: +gpujob logs -f \1\n", said)
    assert f"  Stop:      gpujob cancel {number}\n" in said
    assert "--down did not take effect: project is still running" in said
    go.touch()
    assert up.type("wait", number).code == 0
    assert has_machines(up)


def test_down_waits_for_other_jobs_and_takes_none_of_them_along(up):
    process, go = start_waiting(up)
    down = threading.Thread(target=process.communicate)
    down.start()
    run = up.type("run", "--down", "--gpus", "0", "fail.py")
    assert run.code == 3, run.said
    assert re.search(r"--down did not terminate project: job \d+ of 'project' is still running\n", run.err), run.said
    assert len(REMINDER.findall(run.err)) == 1
    assert has_machines(up)
    go.touch()
    down.join()
    assert process.returncode == 0


def test_down_does_not_end_a_machine_whose_outputs_could_not_be_downloaded(up):
    process, go = start_waiting(up, "--down")
    [number] = [job["number"] for job in json.loads(up.type("jobs", "--json").out) if job["state"] == "running"]
    home = up.project / f"runs/project-{number}"
    home.rename(up.home / "moved")
    home.write_text("a file where the folder was")
    go.touch()
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1, said
    assert "--down did not take effect: project is still running" in said
    assert has_machines(up)
    home.unlink()
    assert up.type("fetch", str(number)).code == 0


def test_down_that_the_cloud_refuses_fails_though_the_job_did_not(up):
    assert up.type("local", "fault", "denied=ec2:TerminateInstances").code == 0
    run = up.type("run", "--down", "--", "true")
    assert run.code == 1, run.said
    assert "ec2:TerminateInstances" in run.err
    assert "--down did not terminate project; project may still be running" in run.err
    assert up.type("run", "--down", "fail.py").code == 3
    assert up.type("local", "faults", "--clear").code == 0
    assert has_machines(up)


def test_down_is_refused_where_it_could_not_hold_or_would_end_what_nobody_named(up):
    together = up.type("run", "--down", "--detach", "fail.py")
    assert (together.code, "--down cannot be used with --detach" in together.err) == (2, True)
    other = Here(up.home, up.project.parent / "other", up.settings)
    other.project.mkdir()
    other.write("fail.py", "")
    refused = other.type("run", "--down", "fail.py")
    assert (refused.code, "project, which is not this folder's own cluster" in refused.err) == (2, True), refused.said
    by_variable = Here(up.home, other.project, {"GPUJOB_CLUSTER": "project"}).type("run", "--down", "fail.py")
    assert (by_variable.code, "next: if you mean it, add: --cluster project\n" in by_variable.err) == (2, True)
    assert has_machines(up)
    assert not (other.project / "runs").exists()


def test_down_ends_the_machine_after_the_download_whatever_the_exit_code(up):
    left = up.type("run", "--detach", "fail.py")
    [detached] = re.findall(r"job (\d+) keeps", left.err)
    run = up.type("run", "--down", "fail.py")
    assert run.code == 3, run.said
    assert "terminated project; nothing left that bills\n" in run.err
    assert "still running" not in run.err
    [number] = re.findall(r"^job (\d+) on", run.err, re.MULTILINE)
    for job in (number, detached):
        [model] = (up.project / f"runs/project-{job}").rglob("model.bin")
        assert model.read_text() == "weights"
    assert not has_machines(up)

    def says_when() -> bool:
        again = up.type("down", "--dry-run")
        return again.code == 1 and "no cluster 'project' on the local cloud; the last one ended at " in again.err

    wait_for(says_when, "word of when it ended")  # the local cloud may just be ending with its last machine
    assert up.type("down", "--dry-run", "--if-exists").code == 0


def test_an_idle_machine_ends_itself_by_default_and_the_plan_says_so(up):
    plan = up.type("up", "new", "--dry-run", "--plan")
    assert "ends after 1 h idle, once all outputs are downloaded (--idle-stop)" in plan.err
    assert json.loads(up.type("up", "new", "--dry-run", "--plan", "--json").out)["lease"]["idle_stop_s"] == 3600
    for words in (["--idle-stop", "never"], ["--nodes", "2"]):
        off = up.type("up", "new", "--dry-run", "--plan", *words)
        assert "keeps running until the lease ends (change: --idle-stop 1h)" in off.err, off.said
    short = up.type("up", "new", "--dry-run", "--plan", "--idle-stop", "30s")
    assert "warning: a pause of 30 s between jobs terminates the machine (--idle-stop)" in short.err
    assert "warning" not in up.type("up", "new", "--dry-run", "--plan", "--idle-stop", "5m").err


def test_the_plan_tells_what_came_from_the_project_s_own_settings(up):
    up.write("gpujob.toml", '[up]\nmax-hours = "90m"\nspot = true\ngpu = "A10G"\n')
    try:
        plan = up.type("up", "new", "--dry-run", "--plan", "--gpu", "T4")
    finally:
        (up.project / "gpujob.toml").unlink()
    assert "settings  from gpujob.toml: max-hours, spot\n" in plan.err, plan.said
