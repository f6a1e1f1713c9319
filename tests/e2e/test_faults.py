"""What happens to the node, the laptop and the clock, and that nothing is lost, nothing doubled, and no traceback shown."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import COMMAND, Laptop, epoch, wait_for
from tests.e2e.test_jobs import job_number
from tests.e2e.test_life import processes_of

FROZEN_S = float(os.environ.get("GPUJOB_TEST_FROZEN_S", "3"))
COUNT = "import time\nfor n in range(60): print('line', n); time.sleep(0.05)\nopen('out.txt', 'w').write('x' * 100)\n"
COUNTED = "".join(f"line {n}\n" for n in range(60))


def host_folder(laptop: Laptop) -> Path:
    """The folder of the laptop's only host."""
    [folder] = laptop.home.glob(".local/state/gpujob/local/hosts/*/")
    return folder


def test_a_host_that_freezes_and_comes_back_costs_neither_a_byte_nor_a_job(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("count.py", COUNT)
    run = laptop.start("run", "count.py")
    assert run.stdout.readline() == b"line 0\n"
    frozen = [process for process in processes_of(laptop) if process.pid != run.pid]
    for process in frozen:
        process.suspend()
    time.sleep(FROZEN_S)  # the fault itself, not a wait for anything
    for process in frozen:
        process.resume()
    out, err = run.communicate(timeout=120)
    assert (run.returncode, b"line 0\n" + out) == (0, COUNTED.encode()), err
    assert (laptop.project / "runs/project-1/files/out.txt").read_text() == "x" * 100
    assert len(json.loads(laptop.type("jobs", "--json").out)) == 1


# The host's python3, its clock shifted for all that the agent does there: its supervisor and runner, too.
SHIFTED = """#!{python}
import sys, time
real, real_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: real() + {by}, lambda: real_ns() + {by} * 10**9
sys.executable = {shim!r}
words = sys.argv[1:]
if words[:3] == ["-I", "-S", "-c"]:
    sys.argv = ["-c", *words[4:]]
    exec(words[3])
elif words[:2] == ["-I", "-S"]:
    import runpy
    sys.argv = words[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    import os
    os.execv({python!r}, [{python!r}, *words])
"""


@pytest.mark.parametrize("by", [-3600, 3600])
def test_a_node_whose_clock_is_an_hour_off_changes_nothing_that_is_told(laptop, by):
    assert laptop.type("up", "--dry-run").code == 0
    shim = host_folder(laptop) / "bin/python3"
    shim.write_text(SHIFTED.format(python=sys.executable, by=by, shim=str(shim)))
    shim.chmod(0o755)
    laptop.write("train.py", "open('out.txt', 'w').write('x')")
    before = time.time()
    assert laptop.type("run", "--fetch-every", "0.2s", "train.py").code == 0
    [job] = json.loads(laptop.type("jobs", "--json").out)
    assert job["state"] == "succeeded"
    times = [epoch(job[name]) for name in ("submitted_at", "started_at", "ended_at")]
    assert before - 10 < times[0] <= times[1] <= times[2] < time.time() + 10
    assert 0 < job["seconds"] < 600
    raw = json.loads(next((host_folder(laptop) / "home/.gpujob/jobs").glob("1/job.json")).read_text())
    assert abs(raw["submitted_at"] - (times[0] + by)) < 60  # the node's own records are in its own time
    laptop.write("slow.py", "import time; print('on'); time.sleep(600)")
    number = job_number(laptop.type("run", "--detach", "slow.py").err)
    wait_for(lambda: laptop.type("logs", str(number)).out, "start")
    [_, running] = json.loads(laptop.type("jobs", "--json").out)
    assert 0 < running["seconds"] < 600
    assert laptop.type("down", "--force").code == 0


def test_two_laptops_that_run_at_once_get_a_job_each_and_what_it_wrote(project, tmp_path):
    other = Laptop(project.home, tmp_path / "other", project.settings)
    other.project.mkdir()
    for laptop, word in ((project, "one"), (other, "two")):
        laptop.write("train.py", f"print('{word}'); open('out.txt', 'w').write('{word}')")
    runs = [laptop.start("run", "train.py") for laptop in (project, other)]
    for run, laptop, word in zip(runs, (project, other), ("one", "two"), strict=True):
        out, err = run.communicate(timeout=120)
        assert (run.returncode, out.decode()) == (0, f"{word}\n"), err
        [home] = (laptop.project / "runs").glob("shared-*")
        assert (home / "files/out.txt").read_text() == word


STEPS = {  # where `run` is killed: the function in which it stops, before that does anything
    "before it connects": "infra.ssh.connection.log_in",
    "once it is connected": "infra.run.submission.submit",
    "as the upload begins": "infra.ssh.carry.pack",
    "in the middle of the upload": "cli.terminal.progress:Counter.__call__",
    "after the job was taken in": "infra.run.submission.start_results",
    "while it follows": "infra.node.client.follow_log",
    "in the middle of the fetch": "infra.fetch.outputs.write_receipt",
}
TAKEN_IN = {"after the job was taken in", "while it follows", "in the middle of the fetch"}
KILLED = """
import os, pkgutil, signal, sys
sys.path.insert(0, {repository!r})
owner, _, name = {where!r}.rpartition(".")
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
setattr(pkgutil.resolve_name(owner), name, die)
from cli.main import main
main()
"""


@pytest.mark.parametrize("step", STEPS)
def test_a_client_that_is_killed_at_any_step_of_run_loses_nothing_and_doubles_nothing(project, step):
    project.write("train.py", "print('hello'); open('out.txt', 'w').write('x')")
    name = f"killed-{list(STEPS).index(step)}"
    for number in range(3):
        project.write(f"data/{number}", os.urandom(400_000))  # so that there is something to upload
    script = KILLED.format(repository=str(Path(COMMAND[1]).parents[1]), where=STEPS[step])
    killed = subprocess.run(
        [sys.executable, "-c", script, "run", "--name", name, "train.py"],
        cwd=project.project,
        env=project.environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    found = [job for job in json.loads(project.type("jobs", "--json").out) if job["name"] == name]
    assert len(found) == (step in TAKEN_IN)
    for job in found:
        number = str(job["number"])
        assert project.type("wait", number).code == 0
        assert project.type("logs", number).out == "hello\n"
        fetch = project.type("fetch", number)
        assert fetch.code == 0, fetch.said
        home = project.project / f"runs/shared-{number}"
        assert {path.name for path in home.iterdir()} == {".gitignore", "files", "job.log", "receipt.json"}
        assert [path.name for path in (home / "files").iterdir()] == ["out.txt"]
    again = project.type("run", "--name", name, "train.py")
    assert (again.code, again.out) == (0, "hello\n"), again.said
    named = [job for job in json.loads(project.type("jobs", "--json").out) if job["name"] == name]
    assert len(named) == len(found) + 1
