"""A job's machine uploads its log and complete outputs while it runs; what is in the bucket can be read without the machine."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.uploads.logs import read_job_log, read_task_log
from infra.ec2.storage.objects import Store
from infra.fetch.outputs import EVERYTHING, fetch_once
from infra.node.agent.records import is_supervised, read_json
from infra.saved.jobs import SavedJob
from infra.saved.search import list_saved
from infra.saved.usage import find_complete, list_stored
from tests import s3
from tests.agent import test_arrays as arrays
from tests.agent.test_several_nodes import Pair
from tests.agent_fixtures import Node, install, kill
from tests.conftest import wait_for
from tests.s3 import Proxy

proxy, store = s3.proxy, s3.store

MACHINE = {
    "instance_id": "i-0123456789abcdef0",
    "instance_type": "g4dn.xlarge",
    "zone": "us-east-1a",
    "market": "spot",
    "image_id": "ami-1",
    "gpu": "T4",
    "price_usd": 0.5,
    "launched_at": 1.0,
    "owner": "arn:aws:iam::123456789012:user/me",
}


class Machine(Node):
    """A node with credentials."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    home = tmp_path / "home"
    home.mkdir()
    install(home, sys.executable)
    node = Machine(home, sys.executable)
    yield node
    node.power_off()


def config(store: Store, **more: Any) -> dict[str, Any]:
    about = {
        "name": store.bucket,
        "region": "us-east-1",
        "owner": "123456789012",
        "endpoint": store.account.endpoint_url,
    }
    return {"bucket": about, "prefix": "c/t/", "cluster": MACHINE, "period_s": 0.2, "part_bytes": 5 << 20, **more}


def run(machine: Machine, store: Store, code: str, **more: Any) -> "tuple[int, subprocess.Popen[bytes]]":
    """Submit a job, and upload it as the guard would."""
    number = machine.submit("python", "-c", code, bucket=config(store, **more))
    return number, machine.start("upload", str(number))


def saved(store: Store) -> SavedJob:
    return list_saved(store, "c")[-1]


def read_all(store: Store) -> dict[str, bytes]:
    """Return each saved output's content, verified; that of a link is its target."""
    job, found = saved(store), {}
    _, listed = job.list_outputs()
    wanted = {each: each.size_bytes for each in listed.outputs if each.link is None}
    job.receive(wanted, lambda output, content: found.update({output.path: b"".join(content)}))
    for each in wanted:
        assert hashlib.sha256(found[each.path]).hexdigest() == each.sha256, each.path
    return {**found, **{each.path: each.link.encode() for each in listed.outputs if each.link is not None}}


def has(store: Store, name: str, content: bytes) -> bool:
    try:
        return read_all(store).get(name) == content
    except Exception:  # before the first upload
        return False


def folder_of(machine: Node, number: int) -> Path:
    return machine.home / f".gpujob/jobs/{number}"


def read_log(machine: Node, number: int) -> bytes:
    log = folder_of(machine, number) / "log"
    return log.read_bytes() if log.exists() else b""


def wait_until_saved(machine: Machine, number: int) -> dict[str, Any]:
    done = folder_of(machine, number) / "uploaded"
    wait_for(done.exists, "the last upload")
    return read_json(done)


WRITE = """
import os, time
open('whole', 'w').write('whole')
open('nothing', 'w').close()
os.mkdir('ü b'); open('ü b/x\\n\\udcff+%2F', 'w').write('odd')
os.symlink('whole', 'link'); os.link('whole', 'second')
open('torn', 'w').write('first version')
while not os.path.exists('go'): time.sleep(0.05)
torn = open('torn', 'w'); torn.write('half'); torn.flush()
print('opened', flush=True)
while not os.path.exists('end'): time.sleep(0.05)
torn.write(' and whole'); torn.close()
print('done')
"""


def test_the_log_and_complete_files_are_in_the_bucket_while_the_job_runs_and_all_of_it_afterwards(
    machine: Machine, store: Store, tmp_path: Path
) -> None:
    number, _ = run(machine, store, WRITE)
    work = machine.home / f".gpujob/work/{number}/project"
    wait_for(lambda: has(store, "torn", b"first version"), "the first version")
    found = read_all(store)
    odd = os.fsdecode("ü b/x\n".encode() + b"\xff+%2F")
    assert found == {
        "whole": b"whole", "second": b"whole", "nothing": b"", "link": b"whole", odd: b"odd", "torn": b"first version"
    }  # fmt: skip
    (work / "go").touch()
    wait_for(lambda: b"opened" in b"".join(saved(store).read_log(0)), "the log")
    rounds = saved(store).manifest.round
    (work / "more").write_text("news")
    wait_for(lambda: saved(store).manifest.round > rounds and "more" in read_all(store), "a round")
    assert read_all(store)["torn"] == b"first version"  # the last that was whole
    assert saved(store).current.state == "interrupted"  # as far as the bucket knows, if the machine is gone
    (work / "end").touch()
    assert wait_until_saved(machine, number) == {"complete": True}
    assert read_all(store)["torn"] == b"half and whole"
    job = saved(store)
    assert (job.current.state, job.manifest.final) == ("succeeded", True)
    assert b"".join(job.read_log(0)) == b"opened\ndone\n" and b"".join(job.read_log(7)) == b"done\n"
    assert json.loads(store.get("c/t/tasks/0/end.json"))["complete"]
    home = fetch_once(job, number, tmp_path / "runs", lambda _: None, EVERYTHING)
    assert (home.folder / "files/torn").read_bytes() == b"half and whole"
    assert (home.folder / "job.log").read_bytes() == b"opened\ndone\n"
    assert home.receipt.job.fetched and home.receipt.instance_id == MACHINE["instance_id"]
    objects = {each.key.rpartition("/")[2] for each in store.list("c/t/tasks/0/1/out/")}
    assert objects == set(job.manifest.objects)  # nothing is left of earlier versions


GROW = """
import os, time
def wait(name):
    while not os.path.exists(name): time.sleep(0.02)
log, events = open('log.csv', 'a'), open('events.out.tfevents.1.host', 'ab')
log.write('epoch,loss\\n1,0.5\\n2,0.'); log.flush(); events.write(b'\\0one'); events.flush()
half = open('model.pt', 'wb'); half.write(b'half'); half.flush()
wait('grow')
log.write('25\\n3,0.1\\n'); log.flush(); events.write(b'\\0two'); events.flush()
wait('anew')
log.truncate(0); log.write('epoch\\n'); log.flush()
wait('end')
"""


def test_what_a_log_has_so_far_is_in_the_bucket_while_it_is_being_written(machine: Machine, store: Store) -> None:
    number, _ = run(machine, store, GROW)
    work = machine.home / f".gpujob/work/{number}/project"
    wait_for(lambda: has(store, "log.csv", b"epoch,loss\n1,0.5\n"), "the log's whole lines")
    (work / "grow").touch()
    wait_for(lambda: has(store, "log.csv", b"epoch,loss\n1,0.5\n2,0.25\n3,0.1\n"), "more lines")
    wait_for(lambda: has(store, "events.out.tfevents.1.host", b"\0one\0two"), "TensorBoard's events")
    assert "model.pt" not in read_all(store)  # half a checkpoint is of no use
    (work / "anew").touch()
    wait_for(lambda: (work / "log.csv").read_bytes() == b"epoch\n", "the log that begins again")
    rounds = saved(store).manifest.round
    (work / "more").write_text("news")
    wait_for(lambda: saved(store).manifest.round > rounds and "more" in read_all(store), "a round")
    assert read_all(store)["log.csv"].endswith(b"3,0.1\n")  # the last version that was more than a beginning
    (work / "end").touch()
    assert wait_until_saved(machine, number) == {"complete": True}
    assert read_all(store)["log.csv"] == b"epoch\n" and read_all(store)["model.pt"] == b"half"


def test_a_killed_upload_continues_and_sends_nothing_again(machine: Machine, store: Store, proxy: Proxy) -> None:
    code = "import os, time; open('a', 'w').write('a'); open('big', 'wb').write(os.urandom(2 << 20)); time.sleep(60)"
    number, process = run(machine, store, code)
    wait_for(lambda: has(store, "a", b"a") and "big" in read_all(store), "the files")
    kill(process.pid)
    proxy.seen.clear()
    (machine.home / f".gpujob/work/{number}/project/b").write_text("b")
    machine.start("upload", str(number))
    wait_for(lambda: has(store, "b", b"b"), "the new file")
    assert sum("/out/" in line and line.startswith("PUT") for line in proxy.seen) == 1
    machine.ask("cancel", str(number))
    wait_until_saved(machine, number)
    assert saved(store).current.state == "cancelled"


def test_small_files_share_objects(machine: Machine, store: Store, proxy: Proxy) -> None:
    number, _ = run(machine, store, "for n in range(2000): open(f'f{n}', 'w').write(str(n) * 100)", period_s=30)
    wait_until_saved(machine, number)
    assert len(read_all(store)) == 2000
    assert sum(line.startswith("PUT") for line in proxy.seen) < 15


def test_a_deleted_bucket_is_said_once_and_the_job_goes_on(machine: Machine, store: Store) -> None:
    number, process = run(machine, store, "import time; time.sleep(60)")
    wait_for(lambda: saved_or_none(store) is not None, "the first upload")
    wait_for(lambda: is_deleted(store), "the end of the bucket")
    work = machine.home / f".gpujob/work/{number}/project"
    for name in "ab":
        (work / name).write_text(name)
        wait_for(lambda: b"NoSuchBucket" in read_log(machine, number), "the notice")
    assert is_supervised(folder_of(machine, number)) and process.poll() is None
    store.account.s3.create_bucket(Bucket=store.bucket)
    wait_for(lambda: b"again" in read_log(machine, number), "the other notice")
    assert read_log(machine, number).count(b"NoSuchBucket") == 1
    machine.ask("cancel", str(number))
    wait_until_saved(machine, number)
    assert set(read_all(store)) == {"a", "b"}


def is_deleted(store: Store) -> bool:
    """Delete the bucket, unless something was written to it meanwhile."""
    for each in store.list(""):
        store.delete([each.key])
    try:
        store.account.s3.delete_bucket(Bucket=store.bucket)
    except ClientError:
        return False
    return True


def saved_or_none(store: Store) -> SavedJob | None:
    try:
        return saved(store)
    except Exception:
        return None


def test_a_refused_upload_keeps_the_outputs_on_the_machine(machine: Machine, store: Store, proxy: Proxy) -> None:
    proxy.faults[:] = ["403 AccessDenied 0"] * 1000
    number, process = run(machine, store, "print(1)")
    wait_for(lambda: b"cannot upload to the bucket" in read_log(machine, number), "the notice")
    assert b"AccessDenied" in read_log(machine, number)
    assert not (folder_of(machine, number) / "uploaded").exists() and process.poll() is None
    proxy.faults.clear()
    assert wait_until_saved(machine, number) == {"complete": True}


def test_a_large_file_arrives_in_parts_while_small_ones_do_not_wait_for_it(machine: Machine, store: Store) -> None:
    code = (
        "import time; f = open('big', 'wb'); f.truncate(40 << 20); f.close(); open('a', 'w').write('a'); time.sleep(60)"
    )
    number, _ = run(machine, store, code)
    wait_for(lambda: has(store, "a", b"a"), "the small file")
    machine.ask("cancel", str(number))
    wait_until_saved(machine, number)
    found = read_all(store)
    assert len(found["big"]) == 40 << 20 and not any(found["big"])


GATED = """
import os, sys, time
task = os.environ['GPUJOB_TASK']
open('sent.txt').read()
print('task', task, 'begun', flush=True)
open('step', 'w').write(task)
while not os.path.exists(os.environ['HOME'] + '/go' + task): time.sleep(0.05)
open('step', 'w').write('last of ' + task)
sys.exit(3 * (task == '1'))
"""


def test_an_array_is_saved_with_what_its_running_tasks_have_written_and_printed(
    machine: Machine, store: Store, tmp_path: Path
) -> None:
    array = arrays.array(3, share=2)
    about = {"bucket": config(store), "array": array, "slots": 1, "files": {"sent.txt": b"sent"}}
    number = machine.submit("python", "-c", GATED, **about)
    machine.start("upload", str(number))
    wait_for(lambda: has(store, "0/step", b"0") and has(store, "1/step", b"1"), "what the running tasks wrote")
    wait_for(lambda: has(store, "0.log", b"task 0 begun\n"), "what a running task printed")
    assert not [name for name in read_all(store) if name.endswith("sent.txt")]
    found = saved(store)
    assert [task.state for task in found.tasks] == ["interrupted"] * 3  # if the machine were lost now
    assert found.current.tasks and (found.current.tasks.failed, found.current.tasks.left) == (3, 0)
    (machine.home / "go0").touch()
    (machine.home / "go1").touch()
    wait_for(lambda: "succeeded" in [task.state for task in saved(store).tasks], "the end of a task")
    (machine.home / "go2").touch()
    assert wait_until_saved(machine, number) == {"complete": True}
    found = saved(store)
    assert [(task.state, task.exit_code, task.machine) for task in found.tasks] == [
        ("succeeded", 0, MACHINE["instance_id"]),
        ("failed", 3, MACHINE["instance_id"]),
        ("succeeded", 0, MACHINE["instance_id"]),
    ]
    assert read_task_log(found, 2) == b"task 2 begun\n"
    home = fetch_once(found, number, tmp_path / "runs", lambda _: None, EVERYTHING)
    assert {path: (home.folder / "files" / path).read_text() for path in ("0/step", "1/step", "2.log")} == {
        "0/step": "last of 0",
        "1/step": "last of 1",
        "2.log": "task 2 begun\n",
    }
    assert home.receipt.tasks == found.tasks and home.receipt.job.fetched


RANKED = """
import os, time
rank = os.environ['GPUJOB_NODE_RANK']
print('from node', rank, flush=True)
open('same-name', 'w').write(rank)
while not os.path.exists(os.environ['HOME'] + '/go'): time.sleep(0.05)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    nodes = []
    for name in "ab":
        (tmp_path / name).mkdir()
        install(tmp_path / name, sys.executable)
        nodes.append(Machine(tmp_path / name, sys.executable))
    yield Pair((nodes[0], nodes[1]))
    for node in nodes:
        node.power_off()


def share(store: Store, **more: Any) -> dict[str, Any]:
    """Return the bucket of a job over two nodes."""
    names = ("instance_id", "instance_type", "zone", "market", "image_id")
    other = {**{name: MACHINE[name] for name in names}, "instance_id": "i-0123456789abcdef1"}
    return {"bucket": config(store, cluster={**MACHINE, "others": [other]}), **more}


def start_uploads(pair: Pair, number: int) -> None:
    for node in pair.nodes:
        node.start("upload", str(number))


def test_each_node_of_a_job_saves_its_own_outputs_and_log(pair: Pair, store: Store, tmp_path: Path) -> None:
    number = pair.submit("python", "-c", RANKED, **share(store))
    start_uploads(pair, number)
    wait_for(lambda: len(parts_with(store, "same-name")) == 2, "what both wrote")
    assert not find_complete(store, list_stored(store))
    for node in pair.nodes:
        (node.home / "go").touch()
    for node in pair.nodes:
        wait_until_saved(node, number)
    job = saved(store)
    assert (job.job.nodes, job.current.state, job.complete) == (2, "succeeded", True)
    assert find_complete(store, list_stored(store)) == set(list_stored(store))
    for part in job.parts:
        home = fetch_once(part, number, tmp_path / "runs", lambda _: None, EVERYTHING)
        assert home.folder.name == f"c-{number}" + ".1" * part.rank
        assert (home.folder / "files/same-name").read_text() == str(part.rank)
        assert home.receipt.instance_id == part.cluster.nodes[part.rank].instance_id
    logs = read_job_log(job, None).decode().splitlines()
    assert {"0| from node 0", "1| from node 1"} <= set(logs)
    assert "from node 1" in read_job_log(job, 1).decode() and "from node 1" not in read_job_log(job, 0).decode()


def parts_with(store: Store, path: str) -> list[SavedJob]:
    """Return the parts of the last job that have saved an output; none before the first upload."""
    try:
        return [part for part in saved(store).parts if path in {each.path for each in part.manifest.outputs}]
    except Exception:
        return []


def test_an_array_over_nodes_that_are_lost_keeps_what_each_task_wrote(pair: Pair, store: Store, tmp_path: Path) -> None:
    number = pair.submit(
        "python", "-c", GATED, **share(store, array=arrays.array(2), slots=1, gpus=1), files={"sent.txt": b""}
    )
    start_uploads(pair, number)
    wait_for(lambda: len(parts_with(store, "0/step") + parts_with(store, "1/step")) == 2, "what both tasks wrote")
    ran = {task.index: task.node for task in saved(store).tasks}
    assert set(ran.values()) == {0, 1}
    for node in pair.nodes:
        node.power_off()
    job = saved(store)
    assert not job.complete
    for part in reversed(job.parts):
        home = fetch_once(part, number, tmp_path / "runs", lambda _: None, EVERYTHING)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == [f"c-{number}"]
    assert {index: (home.folder / f"files/{index}/step").read_text() for index in ran} == {0: "0", 1: "1"}
    assert [(task.state, task.node) for task in home.receipt.tasks] == [
        ("interrupted", ran[0]),
        ("interrupted", ran[1]),
    ]
    assert {read_task_log(job, index) for index in ran} == {b"task 0 begun\n", b"task 1 begun\n"}


def test_minutes_without_s3_are_said_once_to_the_log_and_to_jobs_and_lose_nothing(
    machine: Machine, store: Store, proxy: Proxy
) -> None:
    number, process = run(machine, store, "import time; time.sleep(60)", patience_s=0.5)
    wait_for(lambda: saved_or_none(store) is not None, "the first upload")
    proxy.faults[:] = ["503 SlowDown 0", "drop", "500 InternalError 0"] * 1000
    (machine.home / f".gpujob/work/{number}/project/a").write_text("a")
    wait_for(lambda: b"cannot upload" in read_log(machine, number), "the notice")
    assert json.loads(machine.ask("space"))["upload_fault"]
    assert is_supervised(folder_of(machine, number)) and process.poll() is None
    proxy.faults.clear()
    wait_for(lambda: has(store, "a", b"a"), "the file")
    wait_for(lambda: not json.loads(machine.ask("space"))["upload_fault"], "the end of the fault")
    machine.ask("cancel", str(number))
    wait_until_saved(machine, number)


def test_a_machine_without_a_role_keeps_its_job_and_says_why_nothing_is_uploaded(tmp_path: Path, store: Store) -> None:
    (tmp_path / "home").mkdir()
    install(tmp_path / "home", sys.executable)
    node = Roleless(tmp_path / "home", sys.executable)
    try:
        number = node.submit("python", "-c", "print(1)", bucket=config(store))
        process = node.start("upload", str(number))
        wait_for(lambda: b"cannot upload to the bucket" in read_log(node, number), "the notice")
        assert node.wait(number)["state"] == "succeeded" and process.poll() is None
        assert "credentials" in json.loads(node.ask("space"))["upload_fault"]
        assert not (folder_of(node, number) / "uploaded").exists()
    finally:
        node.power_off()


class Roleless(Node):
    """A node whose metadata do not answer, so that it has no credentials."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}


SUDO = """#!/bin/sh
shift
case $1 in
    gpujob-lease) cat "$HOME/lease" ;;
    shutdown) touch "$HOME/off" ;;
esac
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: None)
for step in range(10000):
    with open(f'{time.time():.2f}', 'w') as file: file.write('x')
    print(time.time(), flush=True)
    time.sleep(0.25)
"""


def test_what_was_written_some_seconds_before_the_lease_ended_is_in_the_bucket(machine: Machine, store: Store) -> None:
    tools = machine.home / "tools"
    tools.mkdir()
    (tools / "sudo").write_text(SUDO)
    (tools / "sudo").chmod(0o755)
    guarded = Guarded(machine.home, machine.python)
    number = guarded.submit("python", "-c", STUBBORN, bucket=config(store, period_s=600))
    ends_at = time.time() + 12
    (machine.home / "lease").write_text(str(ends_at))
    guarded.start("guard", "0", "10")
    wait_for((machine.home / "off").exists, "the end of the lease")
    written = [float(name) for name in read_all(store) if name.replace(".", "").isdigit()]
    printed = float(b"".join(saved(store).read_log(0)).split()[-1])
    # A round starts 5 s after the one before, and takes only what was left alone for a second.
    assert time.time() > ends_at
    assert (
        max(written) > ends_at - 10 and printed > ends_at - 10
    )  # after the warning, as rounds are 10 min apart before
    assert is_supervised(folder_of(machine, number))  # SIGTERM has not ended it: that was before the machine did


class Guarded(Machine):
    """A machine with the lease of a test."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PATH": f"{self.home}/tools:{os.environ['PATH']}"}
