"""One job over the two nodes of a cluster, typed as a person would."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.cloudwatch import watch
from tests.conftest import REPOSITORY, Laptop, make_laptop, wait_for

WRITE = 'echo "node $GPUJOB_NODE_RANK of $GPUJOB_NODES"; echo $GPUJOB_NODE_RANK > rank.txt'
FAIL = "import os, sys, time\nsys.exit(7) if os.environ['NODE_RANK'] == '1' else time.sleep(600)\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with a cluster of two nodes."""
    machine = make_laptop(tmp_path_factory.mktemp("pair"), GPUJOB_CLUSTER="pair")
    try:
        up = machine.type("up", "pair", "--dry-run", "--nodes", "2")
        assert up.code == 0, up.said
        yield machine
    finally:
        machine.give_back()


@pytest.fixture
def project(pair: Laptop, tmp_path) -> Laptop:
    """The laptop, in a project folder of the test's own."""
    return Laptop(pair.home, tmp_path, pair.settings)


def number_of(said: str) -> str:
    return re.search(r"job (\d+) on", said)[1]


def start(laptop: Laptop, *words: str) -> str:
    """Submit a job and return its number."""
    run = laptop.type("run", "--detach", "--nodes", "2", *words)
    assert run.code == 0, run.said
    return number_of(run.said)


def state_of(laptop: Laptop, number: str) -> str:
    return next(job["state"] for job in json.loads(laptop.type("jobs", "--json").out) if str(job["number"]) == number)


def test_one_job_has_one_log_one_receipt_and_the_outputs_of_both_nodes(project):
    run = project.type("run", "--nodes", "2", "--", WRITE)
    assert run.code == 0, run.said
    assert sorted(run.out.splitlines()) == ["0| node 0 of 2", "1| node 1 of 2"]
    number = number_of(run.said)
    for rank, name in enumerate((f"pair-{number}", f"pair-{number}.1")):
        assert (project.project / "runs" / name / "files/rank.txt").read_text() == f"{rank}\n"
        assert (project.project / "runs" / name / "job.log").read_text() == f"node {rank} of 2\n"
    receipt = json.loads((project.project / "runs" / f"pair-{number}" / "receipt.json").read_text())
    assert [part["exit_code"] for part in receipt["parts"]] == [0, 0]
    assert [part["folder"] for part in receipt["parts"]] == [f"pair-{number}", f"pair-{number}.1"]
    assert project.type("logs", "--node", "1", number).out == "node 1 of 2\n"
    assert project.type("logs", number).out == "0| node 0 of 2\n1| node 1 of 2\n"
    assert sorted(project.type("logs", "-f", number).out.splitlines()) == sorted(run.out.splitlines())
    assert project.type("logs", "--node", "2", number).code == 2


def test_the_script_that_fails_first_gives_the_exit_code_and_its_node_is_named(project):
    project.write("fail.py", FAIL)
    run = project.type(
        "run", "--nodes", "2", "--launcher", "none", "fail.py", timeout_s=120
    )  # node 0 sleeps for longer
    assert run.code == 7, run.said
    assert re.search(r"failed \(exit 7\) after .*: node 1 \(i-\w+\) failed first", run.err)


def test_training_over_two_nodes_reaches_what_one_process_does_with_the_same_batch(project, tmp_path):
    shutil.copytree(REPOSITORY / "jobs", project.project / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    words = ["--data", "digits", "--model", "small", "--epochs", "2", "--optimizer", "sgd", "--lr", "0.05"]
    words = ["-m", "jobs.train", *words, "--batch-size", "64", "--device", "cpu", "--precision", "float32"]
    run = project.type("run", "--nodes", "2", "--no-deps", "--env", "OMP_NUM_THREADS=1", *words)
    assert run.code == 0, run.said
    alone = [sys.executable, *words, "--out", str(tmp_path / "one")]
    subprocess.run(alone, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=240)
    both = project.project / "runs" / f"pair-{number_of(run.said)}"
    scores = [json.loads((out / "args.json").read_text()) for out in (tmp_path / "one", both / "files/outputs")]
    assert abs(scores[0]["test_accuracy"] - scores[1]["test_accuracy"]) < 0.02
    assert not (both.with_name(f"{both.name}.1") / "files/outputs/model.safetensors").exists()


def test_more_nodes_than_there_are_and_what_cannot_be_combined_are_refused_before_anything_is_sent(project):
    project.write("train.py", "")
    for words, said in (
        (("--nodes", "3", "train.py"), "has 2 nodes"),
        (("--nodes", "2", "--interactive", "train.py"), "one terminal"),
        (("--nproc", "2", "train.py"), "--nproc needs torchrun"),
        (("--nproc", "2", "--launcher", "ray", "train.py"), "--nproc needs torchrun"),
        (("--torchrun", "--launcher", "ray", "train.py"), "cannot be used with --launcher ray"),
        (("--nodes", "2", "--launcher", "torchrun", "--", "true"), "needs a Python script"),
    ):
        refused = project.type("run", *words)
        assert (refused.code, said in refused.err) == (2, True), refused.said


def test_two_jobs_submitted_at_once_run_one_after_the_other_and_a_cancel_ends_all_parts(project):
    both = [project.start("run", "--detach", "--nodes", "2", "--", "sleep 600") for _ in range(2)]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    first, second = sorted((number_of(each) for each in said), key=int)
    wait_for(lambda: state_of(project, first) == "running", "start of the first")
    assert state_of(project, second) == "queued"
    assert "running" in project.type("down", "pair").err
    assert project.type("cancel", "--cluster", "pair", first).code == 0
    wait_for(lambda: state_of(project, second) == "running", "start of the second")
    assert project.type("cancel", "--cluster", "pair", second).code == 0
    for number in (first, second):
        ended = project.type("ssh", "--node", "1", "--", f"cat .gpujob/jobs/{number}/end.json").out
        assert json.loads(ended)["cancelled"]


def test_a_frozen_machine_ends_the_job_and_is_named_and_its_outputs_are_not_forgotten(project):
    number = start(project, "--", f"{WRITE}; sleep 600")
    wait_for(lambda: "node 1 of 2" in project.type("logs", "--node", "1", number).out, "the output of node 1")
    assert project.type("local", "fault", "freeze=1").code == 0
    began = time.monotonic()
    waited = project.type("wait", number)
    took_s = time.monotonic() - began
    assert waited.code == 1
    assert re.search(r"interrupted.*: node 1 \(i-\w+\) was not heard of for 30 s", waited.err), waited.said
    assert took_s < 120, took_s  # torch's own limits are 10 and 30 minutes
    fetched = project.type("fetch", number)
    assert "nothing was downloaded from node 1" in fetched.err
    refused = project.type("down", "pair")
    assert (refused.code, "cannot download the outputs on 'pair'" in refused.err) == (1, True), refused.said
    assert project.type("local", "faults", "--clear").code == 0
    assert project.type("fetch", number).code == 0
    assert (project.project / "runs" / f"pair-{number}.1" / "files/rank.txt").read_text() == "1\n"


def test_a_terminated_machine_ends_the_job_and_the_rest_is_downloaded(laptop):
    assert laptop.type("up", "--dry-run", "--nodes", "2").code == 0
    number = start(laptop, "--", f"{WRITE}; sleep 600")
    wait_for(lambda: "node 0 of 2" in laptop.type("logs", "--node", "0", number).out, "the output of node 0")
    [listed] = json.loads(laptop.type("ls", "--json").out)
    watch(laptop).ec2.terminate_instances(InstanceIds=[listed["nodes"][1]["instance_id"]])
    waited = laptop.type("wait", number)
    assert waited.code == 1
    assert re.search(rf"interrupted.*: node 1 \({listed['nodes'][1]['instance_id']}\) was lost", waited.err), (
        waited.said
    )
    down = laptop.type("down")
    assert down.code == 0, down.said
    assert (laptop.project / "runs" / f"project-{number}" / "files/rank.txt").read_text() == "0\n"
