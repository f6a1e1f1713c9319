"""Whole lives of a cluster, typed as a person would."""

import json
import os
import re
import shutil
import signal

import psutil
import pytest

from tests.cloudwatch import has_machines, remains
from tests.conftest import Laptop, make_laptop, wait_for

SCRIPT = """
import os, pathlib, sys
print("epochs", sys.argv[1:])
pathlib.Path("model.bin").write_bytes(b"weights")
pathlib.Path(os.environ["GPUJOB_OUTPUTS"], "accuracy.txt").write_text("0.9")
"""


def processes_of(laptop: Laptop) -> list[psutil.Process]:
    """Every living process that runs in this laptop's home: the local cloud, its hosts, their jobs."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [*process.cmdline(), process.environ().get("HOME", ""), process.cwd()]
            if str(laptop.home) in " ".join(places):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_whole_life_leaves_the_results_here_and_nothing_anywhere_else(laptop):
    laptop.write("train.py", SCRIPT)
    up = laptop.type("up", "--dry-run")
    assert up.code == 0, up.said
    assert re.search(r"\$0\.\d\d to \$0\.\d\d/h|\$0\.\d\d/h", up.err)
    assert "at most" in up.err

    run = laptop.type("run", "train.py", "--", "--epochs", "3")
    assert run.code == 0, run.said
    assert run.out == "epochs ['--epochs', '3']\n"

    home = laptop.project / "runs" / "project-1"
    assert (home / "files" / "model.bin").read_bytes() == b"weights"
    assert (home / "files" / "outputs" / "accuracy.txt").read_text() == "0.9"
    assert (home / "job.log").read_text() == run.out
    receipt = json.loads((home / "receipt.json").read_text())
    assert receipt["job"]["state"] == "succeeded"
    assert {o["path"] for o in receipt["outputs"]} == {"model.bin", "outputs/accuracy.txt"}

    [listed] = json.loads(laptop.type("ls", "--json").out)
    assert (listed["name"], listed["cloud"], listed["nodes"][0]["state"]) == ("project", "local", "running")

    down = laptop.type("down")
    assert down.code == 0, down.said
    assert "terminated project; nothing left that bills" in down.err
    assert json.loads(laptop.type("ls", "--json").out) == []
    late = laptop.type("fetch")
    assert late.code == 1
    assert f"the results of job 1 are in {home} (log: job.log)\n  next: gpujob receipt 1\n" in late.err
    late = laptop.type("logs", "1")
    assert late.code == 0
    assert late.out == (home / "job.log").read_text()
    assert not (laptop.home / ".local/state/gpujob/clusters/project").exists()
    wait_for(lambda: not processes_of(laptop), "end of the local cloud")


def test_down_twice_is_as_good_as_once_for_a_script(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("down", "--if-exists").code == 0
    again = laptop.type("down", "--if-exists")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert laptop.type("down").code == 1


def test_a_second_cluster_of_a_name_overwrites_no_outputs_of_the_first(laptop):
    laptop.write("train.py", SCRIPT)
    for _ in range(2):
        assert laptop.type("up", "again", "--dry-run").code == 0
        assert laptop.type("run", "train.py").code == 0
        assert laptop.type("down", "again").code == 0
    assert sorted(p.name for p in (laptop.project / "runs").glob("again-*")) == ["again-1", "again-2"]


def test_a_name_that_is_taken_is_refused_and_the_cluster_is_unharmed(project):
    again = project.type("up", "shared", "--dry-run")
    assert again.code == 2
    assert "cluster 'shared' already exists" in again.err
    assert project.type("run", "--", "true").code == 0


def test_of_two_ups_at_once_one_gets_the_name_and_the_other_harms_nothing(laptop):
    laptop.type("check", "--dry-run")  # starts the local cloud
    both = [laptop.start("up", "--dry-run") for _ in range(2)]
    said = [process.communicate(timeout=120)[1].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert laptop.type("run", "--", "true").code == 0
    assert laptop.type("down").code == 0
    assert remains(laptop) == []


def test_what_a_killed_up_left_is_named_and_down_removes_it(laptop):
    laptop.type("check", "--dry-run")
    process = laptop.start("up", "--dry-run")
    while b"waiting for the machine" not in process.stderr.readline():
        pass
    process.kill()
    process.communicate()
    assert remains(laptop) != []
    down = laptop.type("down")
    assert down.code == 0, down.said
    assert remains(laptop) == []
    assert laptop.type("up", "--dry-run").code == 0


def test_a_name_in_use_in_another_region_is_taken(laptop):
    assert laptop.type("up", "--dry-run", "--region", "us-west-2").code == 0
    again = laptop.type("up", "--dry-run", "--region", "us-east-1")
    assert again.code == 2
    assert "already exists in us-west-2" in again.err
    assert laptop.type("run", "--", "true").code == 0
    assert laptop.type("down").code == 0


def test_a_killed_local_cloud_is_told_everywhere_and_a_new_one_serves_the_same_name(laptop):
    laptop.write("train.py", SCRIPT)
    assert laptop.type("up", "--dry-run").code == 0
    record = json.loads((laptop.home / ".local/state/gpujob/local/cloud.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: not processes_of(laptop), "end of every host")

    run = laptop.type("run", "train.py")
    assert run.code == 1
    assert "its local cloud has stopped" in run.err
    assert "gpujob down project" in run.err
    [listed] = json.loads(laptop.type("ls", "--json").out)
    assert listed["nodes"][0]["state"] == "gone"
    for words in (["stop"], ["start"], ["extend", "--hours", "1"]):
        assert "gpujob down project" in laptop.type(*words).err

    down = laptop.type("down")
    assert down.code == 0
    assert "terminated project; nothing left that bills" in down.err
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("run", "train.py").code == 0


def test_up_replaces_the_record_of_a_cluster_whose_cloud_was_killed(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    record = json.loads((laptop.home / ".local/state/gpujob/local/cloud.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("run", "--", "true").code == 0


def test_a_machine_that_powers_itself_off_is_given_back(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.type("run", "--detach", "--", "sudo", "shutdown", "-h", "now")
    wait_for(lambda: not has_machines(laptop), "termination")
    refused = laptop.type("run", "--", "true").err  # the local cloud ends soon after its last machine
    assert "(it powered itself off)" in refused or "its local cloud has stopped" in refused
    assert laptop.type("down").code == 0


def test_the_lease_ends_the_machine_without_anybody_and_is_told_and_counted(laptop):
    up = laptop.type("up", "--dry-run", "--max-hours", "0.006")
    assert up.code == 0 and " on AWS including disk and IP address" in up.err, up.said
    wait_for(lambda: not has_machines(laptop), "end of the lease")
    assert "gone" in laptop.type("ls", "--dry-run").out
    assert laptop.type("local", "stop").code == 0  # it would end by itself half a minute later
    wait_for(lambda: not processes_of(laptop), "end of the local cloud")
    wait_for(lambda: "ended" in laptop.type("ls").out, "time at which it ended")
    for words in (["run", "--", "true"], ["stop"]):
        assert "(end of its lease)" in laptop.type(*words).err
    [cost] = json.loads(laptop.type("cost", "--json").out)
    assert cost["missed"]
    assert 0.005 < cost["usd"] < 0.02, "a minute is billed at least"
    assert laptop.type("down").code == 0
    assert json.loads(laptop.type("cost", "--json").out) == [cost]
    told = laptop.type("cost")
    assert f"\t${cost['usd']:.4f}\t" in told.out
    assert "dry runs would have cost under $0.01 on AWS" in told.err
    assert "ended by themselves: project" in told.err


@pytest.mark.parametrize(
    "step", ["launching", "waiting for the machine", "waiting for the host key", "waiting for a login"]
)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing(laptop, step, stop):
    laptop.type("check", "--dry-run")  # starts the local cloud
    process = laptop.start("up", "--dry-run")
    said = b""
    while step.encode() not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(stop)
    said += process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert b"everything it launched was removed" in said or b"nothing was launched" in said
    assert remains(laptop) == []
    assert not (laptop.home / ".local/state/gpujob/clusters/project").exists()


def test_an_interrupted_down_says_how_it_goes_on(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("local", "fault", "latency=300").code == 0
    process = laptop.start("down")
    while b"terminating" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, b"rerun: gpujob down project" in said) == (130, True), said
    assert laptop.type("down").code == 0
    assert remains(laptop) == []


def test_the_environment_sets_the_rehearsal_everywhere(tmp_path):
    laptop = make_laptop(tmp_path, GPUJOB_DRY_RUN="1")
    try:
        assert laptop.type("check").code == 0
        assert laptop.type("up").code == 0
        assert laptop.type("down", "--all").code == 0
    finally:
        laptop.give_back()


def test_down_all_ends_every_cluster_that_it_may_and_names_the_others(laptop):
    for name in ("one", "two"):
        assert laptop.type("up", name, "--dry-run").code == 0
    assert laptop.type("run", "--cluster", "one", "--detach", "--", "sleep", "600").code == 0
    down = laptop.type("down", "--all")
    assert down.code == 1, down.said
    assert "one was not terminated: job 1 of 'one' is still running" in down.err
    assert "terminated two" in down.err
    assert down.err.splitlines()[-2] == "gpujob: not terminated: one"
    assert [cluster["name"] for cluster in json.loads(laptop.type("ls", "--json").out)] == ["one"]
    assert laptop.type("down", "--all", "--force").code == 0
    assert laptop.type("ls").out == ""


def test_a_cluster_is_found_by_its_tags_when_all_local_files_are_lost(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    shutil.rmtree(laptop.home / ".local/state/gpujob/clusters")
    [listed] = json.loads(laptop.type("ls", "--json").out)
    assert listed["name"] == "project"
    refused = laptop.type("down")
    assert refused.code == 1
    assert "was launched from another computer" in refused.err
    assert "terminated project" in laptop.type("down", "--force").err
    assert remains(laptop) == []


def test_a_record_that_cannot_be_read_costs_neither_what_a_job_wrote_nor_the_key(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("run", "--detach", "--", "sh", "-c", "echo out > out").code == 0
    assert laptop.type("wait").code == 0
    records = laptop.home / ".local/state/gpujob/clusters"
    shutil.copytree(records / "project", records / "elsewhere")
    for name in ("project", "elsewhere"):
        (records / name / "cluster.json").write_text("{")
    down = laptop.type("down")
    assert down.code == 0, down.said
    assert (laptop.project / "runs/project-1/files/out").read_text() == "out\n"
    for words in ([], ["--dry-run"], ["--force"]):
        unsure = laptop.type("down", "elsewhere", *words)
        assert unsure.code == 1, unsure.said
        assert "cannot tell whether 'elsewhere' is running" in unsure.err
        assert (records / "elsewhere/id_ed25519").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "/tmp", "*", "p*", "proj?ct", "../project", "project/", "Project"]
)
@pytest.mark.parametrize("command", ["down", "jobs", "ssh"])
def test_a_name_that_is_none_ends_nothing_and_removes_nothing(rented, tmp_path, command, name):
    (tmp_path / "precious").write_text("")
    words = [command, "--cluster", name] if command == "jobs" else [command, name]
    refused = rented.type(*words, cwd=tmp_path)
    assert refused.code == 2, refused.said
    assert "invalid cluster name" in refused.err
    assert (tmp_path / "precious").exists()
    assert rented.type("jobs").code == 0


def test_a_rehearsal_never_touches_a_cluster_on_aws(laptop):
    folder = laptop.home / ".local/state/gpujob/clusters/real"
    folder.mkdir(parents=True)
    node = {"instance_id": "i-1", "state": "running", "host": "127.0.0.1", "port": 9, "instance_type": "t", "zone": "z"}
    facts = {"gpu": "T4", "price_usd": 1.0, "lease_until": 0.0, "launched_at": 0.0, "owner": "arn:aws:iam::1:user/u"}
    record = {"name": "real", "cloud": "aws", "region": "us-east-1", "nodes": [node], **facts}
    (folder / "cluster.json").write_text(json.dumps(record))
    for words in (["down", "real", "--dry-run", "--yes"], ["down", "real", "--dry-run", "--force", "--yes"]):
        refused = laptop.type(*words)
        assert refused.code == 2, refused.said
        assert "is a cluster on AWS, but this is a dry run" in refused.err
    rehearsal = Laptop(laptop.home, laptop.project, {"GPUJOB_DRY_RUN": "1"})
    assert "GPUJOB_DRY_RUN is set" in rehearsal.type("jobs", "--cluster", "real").err
    assert (folder / "cluster.json").exists()


@pytest.mark.parametrize(
    "settings", [{"AWS_PROFILE": "nope"}, {"http_proxy": "http://127.0.0.1:9"}, {"AWS_REGION": "us-moon-1"}]
)
def test_a_rehearsal_needs_none_of_the_person_s_own_settings(tmp_path, settings):
    laptop = make_laptop(tmp_path, GPUJOB_DRY_RUN="1", **settings)
    try:
        up = laptop.type("up")
        assert up.code == 0, up.said
        assert laptop.type("down").code == 0
    finally:
        laptop.give_back()
