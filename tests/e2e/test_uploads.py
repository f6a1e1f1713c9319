"""Machines that end: the log and the outputs of their jobs are in the bucket of their cluster."""

import json
from pathlib import Path

from infra.local.cloud.server import control
from tests.cloudwatch import node_home, watch
from tests.conftest import Laptop, wait_for

TRAIN = """\
import time
open('step.txt', 'w').write('1')
print('step 1', flush=True)
time.sleep(600)
"""


def has_outputs(laptop: Laptop) -> bool:
    """Return whether the job's first output has arrived in the bucket: job, log, manifest and the file."""
    jobs = json.loads(laptop.type("bucket", "ls", "auto", "--dry-run", "--json").out)
    return bool(jobs) and jobs[0]["objects"] > 3


def test_a_job_is_read_from_the_bucket_once_its_machine_is_gone(laptop, tmp_path):
    up = laptop.type("up", "stud", "--dry-run", "--bucket", "auto")
    assert up.code == 0, up.said
    assert "  bucket   auto; log and outputs uploaded every minute\n" in up.err
    laptop.write("train.py", TRAIN)
    control.add_faults(watch(laptop).cloud, "denied=s3:PutObject")
    assert laptop.type("run", "--detach", "train.py").code == 0
    fault = "warning: nothing is uploaded to the bucket: "
    wait_for(lambda: fault in laptop.type("jobs").err, "first upload, which is refused")
    assert fault in laptop.type("top", "--once").out
    control.clear_faults(watch(laptop).cloud)
    (node_home(laptop) / ".gpujob/jobs/1/warned").touch()  # as before the end of a lease, it uploads each 5 s
    wait_for(lambda: has_outputs(laptop), "upload of the output")
    assert fault not in laptop.type("jobs").err
    laptop.type("ssh", "stud", "--", "sudo shutdown -h now")
    wait_for(lambda: "reading the bucket" in laptop.type("jobs").err, "end of the machine")

    assert [job["state"] for job in json.loads(laptop.type("jobs", "--json").out)] == ["interrupted"]
    log = laptop.type("logs").out
    assert "s3:PutObject; the job continues, and its outputs stay on this machine\n" in log
    assert "step 1" in log.splitlines()
    other = move_away(laptop, tmp_path / "elsewhere")
    assert [job["cluster"] for job in json.loads(other.type("bucket", "ls", "auto", "--json").out)] == ["stud"]
    assert [job["state"] for job in json.loads(other.type("jobs", "--cluster", "stud", "--json").out)] == [
        "interrupted"
    ]
    assert other.type("logs", "--cluster", "stud").out == log
    fetch = other.type("fetch", "--cluster", "stud")
    assert fetch.code == 0, fetch.said
    assert (other.project / "runs/stud-1/files/step.txt").read_text() == "1"
    assert "its machine ended before the last upload" in fetch.err
    receipt = json.loads(other.type("receipt", "--cluster", "stud", "--json").out)
    assert (receipt["job"]["state"], receipt["instance_type"]) == ("interrupted", "g4dn.xlarge"), receipt
    stays = laptop.type("down", "stud", "--yes")
    assert stays.code == 0, stays.said
    remove = laptop.type("bucket", "rm", "auto", "--all", "--dry-run", "--yes")
    assert remove.err == "deleted 4 objects\n"
    assert json.loads(laptop.type("bucket", "du", "auto", "--dry-run", "--json").out)["jobs"] == 0


BOTH = 'echo "on $GPUJOB_NODE_RANK"; echo $GPUJOB_NODE_RANK > rank.txt'
TASK = "import os, sys\nprint('task', sys.argv[1])\nopen('lr.txt', 'w').write(sys.argv[1])\n"


def test_a_job_over_two_nodes_and_an_array_are_read_from_the_bucket_once_both_machines_are_gone(laptop, tmp_path):
    up = laptop.type("up", "pair", "--dry-run", "--bucket", "auto", "--nodes", "2")
    assert up.code == 0, up.said
    laptop.write("task.py", TASK)
    for words in (("--nodes", "2", "--", BOTH), ("--no-deps", "--grid", "lr=0.1,0.01", "task.py", "{lr}")):
        run = laptop.type("run", "--detach", "--cluster", "pair", *words)
        assert run.code == 0, run.said
    wait_for(lambda: is_complete(laptop, 2), "upload of both jobs")
    seen = watch(laptop)
    seen.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in seen.living()])
    other = move_away(laptop, tmp_path / "elsewhere")

    listed = other.type("jobs", "--cluster", "pair", "--json")
    jobs = {job["number"]: job for job in json.loads(listed.out)}
    assert [(jobs[each]["state"], jobs[each]["nodes"]) for each in (1, 2)] == [("succeeded", 2)] * 2, listed.said
    assert jobs[2]["tasks"]["done"] == 2
    log = other.type("logs", "--cluster", "pair", "1").out
    assert sorted(log.splitlines()) == ["0| on 0", "1| on 1"]
    assert other.type("logs", "--cluster", "pair", "--node", "1", "1").out == "on 1\n"
    assert other.type("logs", "--cluster", "pair", "2.1").out == "task 0.01\n"
    assert other.type("logs", "--cluster", "pair", "--node", "2", "1").code == 2

    receipt = json.loads(other.type("receipt", "--cluster", "pair", "1", "--json").out)
    assert [part["exit_code"] for part in receipt["parts"]] == [0, 0]
    fetched = other.type("fetch", "--cluster", "pair", "--all")
    assert fetched.code == 0, fetched.said
    runs = other.project / "runs"
    assert [(runs / f"pair-1{part}/files/rank.txt").read_text() for part in ("", ".1")] == ["0\n", "1\n"]
    assert [(runs / f"pair-2/files/{task}/lr.txt").read_text() for task in (0, 1)] == ["0.1", "0.01"]
    tasks = json.loads(other.type("tasks", "--cluster", "pair", "2", "--json").out)
    assert [(task["task"], task["values"], task["state"]) for task in tasks] == [
        (0, {"lr": "0.1"}, "succeeded"),
        (1, {"lr": "0.01"}, "succeeded"),
    ]
    array = json.loads(other.type("receipt", "--cluster", "pair", "2", "--json").out)
    assert [task["state"] for task in array["tasks"]] == ["succeeded"] * 2


def is_complete(laptop: Laptop, jobs: int) -> bool:
    """Return whether the bucket has all of so many jobs."""
    found = json.loads(laptop.type("bucket", "ls", "auto", "--dry-run", "--json").out)
    return [job["complete"] for job in found] == [True] * jobs


def move_away(laptop: Laptop, folder: Path) -> Laptop:
    """Return another laptop: credentials of the same cloud and the bucket's name, no cluster, no project."""
    state = folder / "home/.local/state/gpujob"
    state.mkdir(parents=True)
    (state / "local").symlink_to(laptop.home / ".local/state/gpujob/local")
    (folder / "other").mkdir()
    settings = {"GPUJOB_DRY_RUN": "1", "GPUJOB_BUCKET": "auto"}
    return Laptop(folder / "home", folder / "other", settings)
