"""Machines of a sent job, each a home with the agent in it: they share nothing but a bucket and a group."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any
from uuid import uuid4

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer

from infra.node.packing import pack_agent
from tests.agent_fixtures import Node, in_blocks, install, request
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
        self.s3, self.groups, self.ec2 = (
            boto3.client(service, endpoint_url=self.endpoint, **keys) for service in ("s3", "autoscaling", "ec2")
        )
        self.s3.create_bucket(Bucket=self.name)
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        self.ec2.create_launch_template(LaunchTemplateName=self.name, LaunchTemplateData={"ImageId": image})
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=self.name,
            LaunchTemplate={"LaunchTemplateName": self.name},
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=4,
            AvailabilityZones=["us-east-1a"],
        )
        self.ids = [one["InstanceId"] for one in self.describe()["Instances"]]

    def describe(self) -> dict[str, Any]:
        return self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def send(self, *command: str, files: dict[str, bytes], tasks: int = 1, retries: int = 0, **times: float) -> None:
        line, _, content = request(command, "t", files, no_deps=True).partition(b"\n")
        import base64
        import zlib

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

    def keys(self, below: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.prefix + below).get("Contents", ())
        return [one["Key"].removeprefix(self.prefix) for one in found]

    def output(self, path: str, task: int = 0) -> bytes:
        """Return a file as a reader finds it: by the manifest of the highest attempt that has one."""
        attempts = (key.split("/")[2] for key in self.keys(f"tasks/{task}/") if key.endswith("/outputs.json"))
        manifest = self.get(f"tasks/{task}/{max(map(int, attempts))}/outputs.json")
        (entry,) = [each for each in manifest["files"] if each["path"] == path]
        body = self.s3.get_object(Bucket=self.name, Key=entry["key"])["Body"].read()
        assert hashlib.sha256(body).hexdigest() == entry["sha256"]
        return body

    def log(self, attempt: int, task: int = 0) -> str:
        parts = sorted(self.keys(f"tasks/{task}/{attempt}/log-"))
        bodies = (self.s3.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read() for key in parts)
        return b"".join(bodies).decode()

    def end(self, task: int = 0, timeout_s: float = 60) -> Any:
        wait_for(lambda: self.get(f"tasks/{task}/end.json"), "the end of the task", timeout_s)
        return self.get(f"tasks/{task}/end.json")

    def boot(self) -> "Machine":
        """Start another machine of the group."""
        home = self.homes / str(len(self.machines))
        home.mkdir()
        install(home, os.sys.executable)
        node = Node(home, os.sys.executable)
        bucket = {"name": self.name, "region": "us-east-1", "owner": "", "endpoint": self.endpoint}
        machine = self.ids[len(self.machines) % len(self.ids)] if len(self.machines) < len(self.ids) else f"i-{len(self.machines)}"
        about = {"bucket": bucket, "prefix": self.prefix, "machine": machine, "group": self.name, "patience_s": 2}
        (home / ".gpujob/sent.json").write_text(json.dumps(about))
        found = Machine(node, machine)
        found.start()
        self.machines.append(found)
        return found


@dataclass
class Machine:
    """A home folder with the agent at work in it."""

    node: Node
    name: str
    process: "Popen[bytes] | None" = None

    def start(self) -> None:
        out = (self.node.home / "away.log").open("ab")
        environment = {**self.node.environment, **KEYS}
        words = [self.node.python, "-I", "-S", pack_agent()[0], "away"]
        self.process = Popen(words, cwd=self.node.home, env=environment, stdin=DEVNULL, stdout=out, stderr=out)

    def said(self) -> str:
        return (self.node.home / "away.log").read_text()

    def kill(self) -> None:
        """Take the machine away, as a power cut does."""
        self.node.power_off()
        assert self.process
        self.process.wait()

    def freeze(self, number: int) -> None:
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
    sending.send("python", "loop.py", "3", "0.1", files={"loop.py": LOOP})
    machine = sending.boot()
    end = sending.end()
    assert (end["state"], end["exit_code"], end["attempt"], end["uploaded"]) == ("succeeded", 0, 1, True), machine.said()
    assert json.loads(sending.output("state.json")) == count(3)
    assert "step 3 1" in sending.log(1)
    assert f"boots/{machine.name}.json" in sending.keys()
    wait_for(lambda: sending.describe()["MaxSize"] == 0, "the group's end")
    assert sending.describe()["DesiredCapacity"] == 0


def test_a_loop_that_loads_what_it_saved_goes_on_where_a_killed_machine_was(sending: Sending) -> None:
    sending.send("python", "loop.py", "5", "1.4", files={"loop.py": LOOP})
    first = sending.boot()
    wait_for(lambda: "tasks/0/1/outputs.json" in sending.keys(), "the first manifest")
    saved = json.loads(sending.output("state.json"))["step"]
    first.kill()
    sending.boot()
    end = sending.end()
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert json.loads(sending.output("state.json")) == count(5)
    assert f"step {saved + 1} 2" in sending.log(2)
    assert "step 1 2" not in sending.log(2)
