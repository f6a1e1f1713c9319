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

from tests.conftest import REPOSITORY, Finished, Laptop, make_laptop, wait_for

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


def test_one_job_has_one_upload_one_log_one_receipt_and_the_outputs_of_both_nodes(project):
    (project.project / "weights.bin").write_bytes(os.urandom(1_500_000))
    run = project.type("run", "--nodes", "2", "--", f"{WRITE}; test -s weights.bin")
    assert run.code == 0, run.said
    assert "1.5 MB uploaded" in run.err, run.said  # node 1 got it from node 0
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


def find_nodes(project: Laptop, path: str) -> list[list[int]]:
    """Return the nodes that each version of a data set is on."""
    listed = json.loads(project.type("data", "ls", "--json").out)
    return [each["nodes"] for each in listed if each["path"] == path]


def test_data_sets_and_removed_jobs_are_those_of_all_nodes(project):
    project.write("gpujob.toml", '[data]\nfolders = ["cats"]\n')
    project.write("cats/one.txt", "meow\n")
    shown = "cat cats/one.txt"
    assert project.type("run", "--", shown).out.endswith("meow\n")
    assert find_nodes(project, "cats") == [[0]]
    pushed = project.type("data", "push")
    assert pushed.code == 0, pushed.said
    assert re.search(r"data cats on node 1: 1 file, .* \(from another node\)", pushed.err), pushed.said
    assert find_nodes(project, "cats") == [[0, 1]]
    both = project.type("run", "--nodes", "2", "--", shown)
    assert {"0| meow", "1| meow"} <= set(both.out.splitlines())
    number = number_of(both.said)
    unfetched = start(project, "--", "echo $GPUJOB_NODE_RANK > out.txt")
    assert project.type("wait", unfetched).code == 0
    assert "not downloaded" in project.type("jobs", "rm", "--cluster", "pair", unfetched).err
    folder = f"test -e .gpujob/jobs/{number}"
    assert project.type("ssh", "--node", "1", "--", folder).code == 0
    removed = project.type("jobs", "rm", "--cluster", "pair", number)
    assert (removed.code, "removed 1 job" in removed.err) == (0, True), removed.said
    assert project.type("ssh", "--node", "1", "--", folder).code == 1
    assert project.type("fetch", unfetched).code == 0
    own, other = (
        json.loads(project.type("ssh", "--node", node, "--", "cat .gpujob/neighbours.json").out) for node in "01"
    )
    # So that one that is in use keeps the other. Only the local cloud's ports change as a machine reboots.
    assert ([address for address, _ in own["others"]], own["key"]) == ([other["own"][0]], other["key"])
    gone = project.type("data", "rm", "--cluster", "pair", "cats")
    assert (gone.code, find_nodes(project, "cats")) == (0, []), gone.said


def test_a_full_disk_of_one_node_is_named_and_a_missing_or_earlier_agent_there_is_replaced(project):
    def on_node_1(script: str) -> Finished:
        return project.type("ssh", "--node", "1", "--", script)

    assert project.type("run", "--nodes", "2", "--", "true").code == 0
    if on_node_1("mount -t tmpfs -o size=4m,mode=700 tmpfs ~/.gpujob").code:
        pytest.skip("no file system can be mounted here: that takes root")
    try:
        data = project.write("data.bin", os.urandom(5 << 20))
        full = project.type("run", "--nodes", "2", "--", "true")
        data.unlink()
        states = {job["state"] for job in json.loads(project.type("jobs", "--json").out)}
        small = project.type("run", "--nodes", "2", "--", "true")
    finally:
        assert on_node_1("umount --lazy ~/.gpujob").code == 0
    assert full.code == 1, full.said
    assert "gpujob: the agent on node 1 failed: No space left on device" in full.err
    assert full.err.endswith("next: free disk space: gpujob jobs rm --cluster pair --done\n"), full.err
    assert not states & {"queued", "running"}
    assert small.code == 0, small.said

    earlier = (
        "cd ~/.gpujob && mv $(readlink agent.pyz) agent-0123456789ab.pyz && ln -sfn agent-0123456789ab.pyz agent.pyz"
    )
    assert on_node_1(earlier).code == 0
    replaced = project.type("run", "--nodes", "2", "--", WRITE)
    assert replaced.code == 0, replaced.said
    assert {"0| node 0 of 2", "1| node 1 of 2"} <= set(replaced.out.splitlines()), replaced.said


def test_a_run_again_as_it_was_has_its_data_sets_on_all_nodes(project):
    project.write("gpujob.toml", '[data]\nfolders = ["dogs"]\n')
    project.write(".gitignore", "dogs\n")
    project.write("dogs/one.txt", "woof\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=project.project, check=True)
    first = project.type("run", "--array", "0-1", "--", "cat dogs/one.txt")
    assert first.code == 0, first.said
    assert project.type("data", "rm", "--cluster", "pair", "dogs").code == 0
    again = project.type("rerun", "--as-it-was", "--all-tasks", f"pair-{number_of(first.said)}")
    assert again.code == 0, again.said
    assert json.loads(project.type("data", "ls", "--json").out)[0]["nodes"] == [0, 1]


def test_a_page_and_an_image_are_those_of_the_node_that_is_named(project):
    for words in (("tensorboard",), ("bake", "pair", "--as", "second", "--yes")):
        absent = project.type(*words, "--node", "2")
        assert (absent.code, "'pair' has no node 2" in absent.err) == (2, True), absent.said
    alone = number_of(project.type("run", "--", "true").said)
    assert f"no job {alone}" in project.type("tensorboard", "--node", "1", alone, timeout_s=30).err
    second = json.loads(project.type("ls", "--json").out)[0]["nodes"][1]["instance_id"]
    baked = project.type("bake", "pair", "--as", "second", "--node", "1", "--yes")
    assert (baked.code, f"settings from {second}" in baked.err) == (0, True), baked.said
    assert project.type("run", "--nodes", "2", "--", "true").code == 0  # its new host keys are known
    assert project.type("images", "rm", "second", "--dry-run", "--yes").code == 0


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


@pytest.fixture
def second(project: Laptop, tmp_path_factory) -> Laptop:
    """Another laptop with another project, and of the first one only the cluster's key and addresses."""
    other, state = make_laptop(tmp_path_factory.mktemp("second"), **project.settings), ".local/state/gpujob"
    shutil.copytree(project.home / state / "clusters/pair", other.home / state / "clusters/pair")
    (other.home / state / "local").mkdir()
    shutil.copy(project.home / state / "local/cloud.json", other.home / state / "local")
    return other


def test_a_job_whose_client_was_killed_ends_by_itself_and_is_found_by_another_laptop(project, second):
    run = project.start("run", "--nodes", "2", "--", f"{WRITE}; sleep 2; exit $((5 * GPUJOB_NODE_RANK))")
    assert b"| node" in run.stdout.read(100)
    run.kill()
    number = str(json.loads(second.type("jobs", "--json").out)[-1]["number"])
    for laptop in (second, project):
        waited = laptop.type("wait", number)
        assert (waited.code, bool(re.search(r"node 1 \(i-\w+\) failed first", waited.err))) == (5, True), waited.said
        assert laptop.type("logs", number).out == "0| node 0 of 2\n1| node 1 of 2\n"
        assert laptop.type("fetch", number).code == 0
        for rank, name in enumerate((f"pair-{number}", f"pair-{number}.1")):
            assert (laptop.project / "runs" / name / "files/rank.txt").read_text() == f"{rank}\n"


def test_two_laptops_submit_at_once_and_their_jobs_run_in_the_same_order_on_all_nodes(project, second):
    words = ("run", "--nodes", "2", "--")
    jobs = [
        laptop.start(*words, f"echo {code} >> ~/order; sleep 0.5; exit {code}")
        for laptop, code in ((project, 3), (second, 4))
    ]
    assert [Finished.of(job).code for job in jobs] == [3, 4]
    orders = [project.type("ssh", "--node", node, "--", "cat order").out.split() for node in "01"]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == ["3", "4"]


def test_a_client_killed_before_node_1_has_the_job_leaves_one_that_lets_others_pass_and_can_be_cancelled(project):
    assert project.type("local", "fault", "freeze=1").code == 0
    before = len(json.loads(project.type("jobs", "--json").out))
    run = project.start("run", "--nodes", "2", "--", "true")
    wait_for(lambda: len(json.loads(project.type("jobs", "--json").out)) > before, "the job on node 0")
    run.kill()
    assert project.type("local", "faults", "--clear").code == 0
    half = str(json.loads(project.type("jobs", "--json").out)[-1]["number"])
    after = project.type("run", "--nodes", "2", "--", "true")
    assert after.code == 0, after.said
    assert state_of(project, half) == "queued"
    said = project.type("logs", "--node", "0", half).out
    assert re.search(r"waiting for node 1 \(i-\w+\), to which the job has not been submitted yet", said)
    assert project.type("cancel", "--cluster", "pair", half).code == 0
    assert state_of(project, half) == "cancelled"
    fetched = project.type("fetch", "--cluster", "pair", half)
    said = f"nothing to download from node 1: job {half} was never submitted to it"
    assert (fetched.code, said in fetched.err) == (0, True), fetched.said
