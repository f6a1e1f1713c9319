"""Machines of a sent job, each a home with the agent in it: they share nothing but a bucket and a group."""

import base64
import hashlib
import json
import os
import signal
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from infra.ec2.account import Account
from infra.ec2.storage.objects import Store
from infra.fetch.outputs import EVERYTHING, fetch_once
from infra.model import Counts
from infra.node.packing import pack_agent, pack_boot
from infra.saved.jobs import list_saved
from tests.agent_fixtures import Node, in_blocks, request
from tests.conftest import wait_for

LOOP = b"""
import json, os, pathlib, sys, time
path = pathlib.Path("state.json")
state = json.loads(path.read_text()) if path.exists() else {"step": 0, "sum": 7}
while state["step"] < int(sys.argv[1]):
    time.sleep(float(sys.argv[2]))
    state = {"step": state["step"] + 1, "sum": (state["sum"] * 31 + state["step"]) % 1000003}
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)
    print("step", state["step"], os.environ["GPUJOB_ATTEMPT"], flush=True)
    if os.environ["GPUJOB_ATTEMPT"] == "1" and state["step"] == int(sys.argv[3]):
        time.sleep(600)
"""
TIMES = {"renew_s": 0.3, "stale_s": 1.5, "upload_s": 0.3, "notice_s": 2.0, "poll_s": 0.05}
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def count(steps: int) -> dict[str, int]:
    """Return what the loop has saved after so many steps without any interruption."""
    total = 7
    for step in range(steps):
        total = (total * 31 + step) % 1000003
    return {"step": steps, "sum": total}


@dataclass
class Sending:
    """A sent job: its bucket and its group, and a home folder for each machine that worked on it."""

    endpoint: str
    homes: Path
    prefix: str = "trial/abc/"
    machines: list["Machine"] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self.name = f"bucket-{uuid4().hex}"
        self.s3, self.groups, ec2 = (
            boto3.client(service, endpoint_url=self.endpoint, **keys) for service in ("s3", "autoscaling", "ec2")
        )
        self.s3.create_bucket(Bucket=self.name)
        ec2.create_launch_template(LaunchTemplateName=self.name, LaunchTemplateData={"ImageId": "ami-1"})
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=self.name,
            LaunchTemplate={"LaunchTemplateName": self.name},
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=0,
            AvailabilityZones=["us-east-1a"],
        )

    def open_store(self) -> Store:
        """Return the bucket as the client reads it."""
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return Store(Account("aws", boto3.Session(**keys), self.endpoint), self.name)

    def describe(self) -> dict[str, Any]:
        return self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def send(
        self,
        *command: str,
        files: dict[str, bytes],
        tasks: int = 1,
        retries: int = 0,
        array: dict[str, Any] | None = None,
        **times: float,
    ) -> None:
        line, _, content = request(command, "t", files, no_deps=True).partition(b"\n")
        contents = list(dict.fromkeys(files[path] for path in sorted(files)))
        pack = in_blocks(b"".join(contents))
        assert pack == content
        self.put("pack", pack)
        about = {
            "request": json.loads(zlib.decompress(base64.b64decode(line))),
            "contents": [[hashlib.sha256(each).hexdigest(), len(each)] for each in contents],
            "pack": {"key": "pack", "size_bytes": len(pack), "sha256": hashlib.sha256(pack).hexdigest()},
            "tasks": tasks,
            "retries": retries,
            "warning_s": 1.0,
            "array": array,
            "times": {**TIMES, **times},
        }
        self.put("send.json", json.dumps(about).encode())

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=self.prefix + key, Body=body)

    def get(self, key: str) -> Any:
        try:
            return json.loads(self.s3.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def find_keys(self, below: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.prefix + below).get("Contents", ())
        return [one["Key"].removeprefix(self.prefix) for one in found]

    def output(self, path: str, task: int = 0) -> bytes:
        """Return a file as a reader finds it: by the manifest of the highest attempt that has one."""
        attempts = (key.split("/")[2] for key in self.find_keys(f"tasks/{task}/") if key.endswith("/outputs.json"))
        last = f"tasks/{task}/{max(map(int, attempts))}"
        (entry,) = [each for each in self.get(f"{last}/outputs.json")["outputs"] if each["path"] == path]
        key, start = f"{self.prefix}{last}/out/{entry['object']}", entry["offset"]
        body = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()[start : start + entry["size_bytes"]]
        assert hashlib.sha256(body).hexdigest() == entry["sha256"]
        return body

    def has_output(self) -> bool:
        """Return whether the first attempt has saved anything."""
        return bool((self.get("tasks/0/1/outputs.json") or {"outputs": []})["outputs"])

    def log(self, attempt: int, task: int = 0) -> str:
        parts = sorted(self.find_keys(f"tasks/{task}/{attempt}/log-"))
        bodies = (self.s3.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read() for key in parts)
        return b"".join(bodies).decode()

    def end(self, task: int = 0, timeout_s: float = 60) -> Any:
        journals = "".join(machine.said() for machine in self.machines)
        wait_for(lambda: self.get(f"tasks/{task}/end.json"), f"end of the task: {journals}", timeout_s)
        return self.get(f"tasks/{task}/end.json")

    def boot(self) -> "Machine":
        """Start another machine of the group, from its user data on."""
        home = self.homes / str(len(self.machines))
        home.mkdir()
        name = f"i-{len(self.machines):017x}"
        bucket = {"name": self.name, "region": "us-east-1", "owner": "", "endpoint": self.endpoint}
        path, content = pack_agent()
        agent = {"name": Path(path).name, "sha256": hashlib.sha256(content).hexdigest()}
        self.put(agent["name"], content)
        machine = {"gpu": "T4", "price_usd": 0.5, "launched_at": 1.8e9, "owner": "someone"}
        about = {"bucket": bucket, "prefix": self.prefix, "group": self.name, "agent": agent, "machine": machine}
        about["patience_s"] = 2
        (home / "settings").write_text(json.dumps(about))
        (home / "boot.pyz").write_bytes(pack_boot())
        found = Machine(Node(home, sys.executable), name, Metadata(name))
        self.machines.append(found)
        found.start()
        return found


class Metadata(ThreadingHTTPServer):
    """A machine's metadata service."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.entries = {
            "meta-data/instance-id": name,
            "meta-data/instance-type": "g4dn.xlarge",
            "meta-data/instance-life-cycle": "spot",
            "meta-data/placement/availability-zone": "us-east-1a",
            "meta-data/ami-id": "ami-1",
        }
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.reply("token")

    def do_GET(self) -> None:
        self.reply(self.server.entries.get(self.path.removeprefix("/latest/")))  # type: ignore[attr-defined]

    def reply(self, text: str | None) -> None:
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Machine:
    """A home folder with the boot program and then the agent at work in it."""

    node: Node
    name: str
    metadata: Metadata
    processes: "list[Popen[bytes]]" = field(default_factory=list)

    def run(self, command: str) -> None:
        out = (self.node.home / "journal").open("ab")
        place = f"http://127.0.0.1:{self.metadata.server_port}"
        environment = {**self.node.environment, **KEYS, "AWS_EC2_METADATA_SERVICE_ENDPOINT": place}
        words = ["sh", "-c", command.replace("python3", self.node.python)]
        self.processes.append(Popen(words, cwd=self.node.home, env=environment, stdin=DEVNULL, stdout=out, stderr=out))

    def start(self) -> None:
        self.run("python3 -I -S boot.pyz settings && exec python3 -I -S .gpujob/agent.pyz away")

    def guard(self) -> None:
        self.run("exec python3 -I -S .gpujob/agent.pyz guard 0 1")

    def notice(self) -> None:
        """Announce that AWS takes the machine."""
        at = json.dumps({"action": "terminate", "time": "2030-01-01T00:00:00Z"})
        self.metadata.entries["meta-data/spot/instance-action"] = at

    def said(self) -> str:
        return (self.node.home / "journal").read_text()

    def kill(self) -> None:
        """Take the machine away, as a power cut does."""
        self.node.power_off()
        for process in self.processes:
            process.wait()
        self.metadata.shutdown()
        self.metadata.server_close()

    def signal(self, number: int) -> None:
        for pid in self.node.processes():
            os.kill(pid, number)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def sending(endpoint: str, tmp_path: Path) -> Iterator[Sending]:
    sending = Sending(endpoint, tmp_path)
    yield sending
    for machine in sending.machines:
        machine.kill()


def test_a_task_runs_uploads_and_empties_the_group(sending: Sending) -> None:
    sending.send("python", "loop.py", "3", "0.1", "0", files={"loop.py": LOOP})
    machine = sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"], end["attempt"], end["complete"]) == ("succeeded", 0, 1, True), (
        machine.said()
    )
    assert json.loads(sending.output("state.json")) == count(3)
    assert "step 3 1" in sending.log(1)
    assert f"boots/{machine.name}.json" in sending.find_keys()
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_a_loop_that_loads_what_it_saved_goes_on_where_a_killed_machine_was(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP})
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.kill()
    sending.boot()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert json.loads(sending.output("state.json")) == count(4)
    assert "step 3 2" in sending.log(2)
    assert "step 1 2" not in sending.log(2)


def test_a_frozen_machine_that_wakes_after_its_claim_was_taken_does_no_harm(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP})
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.signal(signal.SIGSTOP)
    second = sending.boot()
    wait_for(lambda: (sending.get("tasks/0/claim") or {})["machine"] == second.name, "the takeover")
    first.signal(signal.SIGCONT)
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert json.loads(sending.output("state.json")) == count(4)
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")
    assert not first.node.processes("loop.py")


def test_a_notice_ends_the_attempt_and_releases_the_claim(sending: Sending) -> None:
    sending.send("python", "loop.py", "4", "0.1", "2", files={"loop.py": LOOP}, stale_s=600)
    first = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    first.guard()
    first.notice()
    wait_for(lambda: sending.get("tasks/0/claim")["machine"] == "", "the release")
    assert sending.get("tasks/0/claim")["why"] == "AWS took the machine"
    assert sending.get("tasks/0/end.json") is None
    sending.boot()
    assert sending.end()["attempt"] == 2
    assert json.loads(sending.output("state.json")) == count(4)
    assert "AWS reclaims this spot machine" in sending.log(1)


def test_a_failed_job_is_run_again_only_as_often_as_asked(sending: Sending) -> None:
    sending.send("sh", "-c", "echo attempt $GPUJOB_ATTEMPT; exit 7", files={}, retries=1)
    sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"], end["attempt"]) == ("failed", 7, 2)
    assert "attempt 1" in sending.log(1)


def test_attempts_that_save_nothing_new_stop_after_three(sending: Sending) -> None:
    sending.send("sh", "-c", "kill -TERM $$; sleep 60", files={})
    sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"]) == ("failed", None)
    assert end["reason"].startswith("3 attempts in a row ended without saving anything new")
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_a_stop_cancels_the_job_and_what_has_not_begun(sending: Sending) -> None:
    sending.send("sh", "-c", "echo begun > note; sleep 60", files={}, tasks=3)
    sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    sending.put("stop", b"{}")
    assert [sending.end(task)["state"] for task in range(3)] == ["cancelled"] * 3
    assert sending.output("note") == b"begun\n"
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")


def test_tasks_are_each_done_once_by_several_machines(sending: Sending) -> None:
    sending.send("sh", "-c", "echo $GPUJOB_TASK >> result; sleep 0.3", files={}, tasks=4)
    machines = [sending.boot(), sending.boot()]
    ends = [sending.end(task) for task in range(4)]
    assert [(end["state"], end["attempt"]) for end in ends] == [("succeeded", 1)] * 4
    assert [sending.output("result", task) for task in range(4)] == [b"%d\n" % task for task in range(4)]
    assert all(f"boots/{machine.name}.json" in sending.find_keys() for machine in machines)


def test_an_agent_that_is_killed_finds_its_running_job_again(sending: Sending) -> None:
    sending.send("python", "loop.py", "3", "1.2", "0", files={"loop.py": LOOP}, stale_s=600)
    machine = sending.boot()
    wait_for(lambda: sending.has_output(), "the first manifest")
    (agent,) = machine.node.processes("away")
    os.kill(agent, signal.SIGKILL)
    machine.start()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 1)
    assert json.loads(sending.output("state.json")) == count(3)


def test_the_tasks_of_a_grid_run_beside_each_other_with_their_values_and_are_read_as_one_job(
    sending: Sending, tmp_path: Path
) -> None:
    grid = [{"index": 3, "values": {"lr": "0.1"}}, {"index": 7, "values": {"lr": "0.01"}}]
    # Each task waits for the other, so they end only if the machine runs both at a time.
    script = (
        "echo $GPUJOB_TASK $GPUJOB_TASKS $GPUJOB_GRID_LR $0 $CUDA_VISIBLE_DEVICES | tee result; touch $HOME/begun-$0"
    )
    wait = "while [ $(ls $HOME/begun-* | wc -l) -lt 2 ]; do sleep 0.05; done"
    array = {"tasks": grid, "gpus": 2}
    sending.send("sh", "-c", f"{script}; {wait}", "{lr}", files={"note": b"kept"}, tasks=2, array=array)
    machine = sending.boot()
    ends = [sending.end(task) for task in (3, 7)]
    assert [(end["state"], end["attempt"], end["complete"]) for end in ends] == [("succeeded", 1, True)] * 2
    results = [sending.output("result", task).decode().split() for task in (3, 7)]
    assert [words[:-1] for words in results] == [["3", "2", "0.1", "0.1"], ["7", "2", "0.01", "0.01"]]
    assert sorted(words[-1] for words in results) == ["0", "1"]
    for task, end in zip((3, 7), ends, strict=True):
        log = sending.log(1, task).encode()
        assert (end["log_bytes"], end["log_sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")
    assert not list((machine.node.home / ".gpujob/work").iterdir())

    [array] = list_saved(sending.open_store(), "trial")
    assert (array.job.number, array.job.state, array.job.exit_code, array.ended, array.complete) == (
        *(1, "succeeded", 0),
        *(True, True),
    )
    assert array.job.tasks == Counts(done=2)
    home = fetch_once(array, 1, tmp_path / "runs", lambda _: None, EVERYTHING)
    files = home.folder / "files"
    found = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    assert found == ["3.log", "3/result", "7.log", "7/result"]
    assert (files / "7/result").read_bytes() == sending.output("result", 7)
    assert (files / "7.log").read_text() == sending.log(1, 7)
    ended = {(task.index, task.values["lr"], task.state, task.machine) for task in home.receipt.tasks}
    assert ended == {(3, "0.1", "succeeded", machine.name), (7, "0.01", "succeeded", machine.name)}
    assert sorted(line.split(":")[0] for line in (home.folder / "job.log").read_text().splitlines()) == [
        "task 3 lr=0.1",
        "task 7 lr=0.01",
    ]
