"""A sent job for tests: machines, each a home with the agent in it, that share nothing but a bucket and a group."""

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

from infra.ec2.account import Account
from infra.ec2.storage.objects import Store
from infra.ec2.storage.policies import make_machine_policy
from infra.node.packing import pack_agent, pack_boot
from tests.agent_fixtures import Node, in_blocks, request
from tests.compiled import keep_compiled
from tests.conftest import wait_for
from tests.s3 import Proxy

LOOP = b"""
import json, os, pathlib, sys, time
path, log = pathlib.Path("state.json"), open("steps.csv", "a")
state = json.loads(path.read_text()) if path.exists() else {"step": 0, "sum": 7}
while state["step"] < int(sys.argv[1]):
    time.sleep(float(sys.argv[2]))
    state = {"step": state["step"] + 1, "sum": (state["sum"] * 31 + state["step"]) % 1000003}
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)
    print(state["step"], file=log, flush=True)
    print("step", state["step"], os.environ["GPUJOB_ATTEMPT"], flush=True)
    if os.environ["GPUJOB_ATTEMPT"] == "1" and state["step"] == int(sys.argv[3]):
        time.sleep(600)
"""
SUDO = """#!/bin/sh
# sudo -n gpujob-lease [TIME]: print or set the end of the lease. sudo -n systemctl is-system-running. Nothing else is allowed.
[ "$2 $3" = "systemctl is-system-running" ] && { cat "$HOME/state"; exit; }
[ "$2" = gpujob-lease ] || exit 1
[ $# -eq 3 ] && date -u -d "$3" +%s > "$HOME/lease.new" && mv "$HOME/lease.new" "$HOME/lease"
cat "$HOME/lease" 2>/dev/null
"""
TIMES = {
    "renew_s": 0.3,
    "stale_s": 3.0,
    "upload_s": 0.3,
    "notice_s": 2.0,
    "last_s": 1.0,
    "poll_s": 0.05,
    "pause_s": 0.2,
}
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

    proxy: Proxy
    homes: Path
    prefix: str = "trial/abc/"
    machines: list["Machine"] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        self.name = f"bucket-{uuid4().hex}"
        self.s3, self.groups, ec2 = (
            boto3.client(service, endpoint_url=f"http://127.0.0.1:{self.proxy.behind}", **keys)
            for service in ("s3", "autoscaling", "ec2")
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
        return Store(Account("aws", boto3.Session(**keys), self.proxy.endpoint), self.name)

    def describe(self) -> dict[str, Any]:
        return self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]

    def send(
        self,
        *command: str,
        files: dict[str, bytes],
        tasks: int = 1,
        retries: int = 0,
        array: dict[str, Any] | None = None,
        warning_s: float = 1.0,
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
            "warning_s": warning_s,
            "secrets": [],
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

    def has_output(self, path: str = "") -> bool:
        """Return whether the first attempt has saved a file, or any complete one."""
        found = [each["path"] for each in (self.get("tasks/0/1/outputs.json") or {"outputs": []})["outputs"]]
        return path in found if path else bool({*found} - {"steps.csv"})

    def refuse(self, word: str = "") -> None:
        """Let S3 refuse, from now on, all requests about this job, or those with a word in them."""
        self.proxy.rule = lambda _, path: "403 AccessDenied 0" if self.name in path and word in path else ""

    def answer(self) -> None:
        """Let S3 answer all requests again."""
        self.proxy.rule = lambda method, path: ""

    def delete_bucket(self) -> None:
        """Delete the bucket with all that is in it, while machines write to it."""
        while True:
            try:
                for one in self.s3.list_objects_v2(Bucket=self.name).get("Contents", ()):
                    self.s3.delete_object(Bucket=self.name, Key=one["Key"])
                return self.s3.delete_bucket(Bucket=self.name)
            except self.s3.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "BucketNotEmpty":
                    raise

    def is_empty(self) -> bool:
        """Return whether the group keeps no machine any more."""
        return bool(self.describe()["MaxSize"] == 0)

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
        (home / "bin").mkdir(parents=True)
        name = f"i-{len(self.machines):017x}"
        bucket = {"name": self.name, "region": "us-east-1", "owner": "", "endpoint": self.proxy.endpoint}
        path, content = pack_agent()
        agent = {"name": Path(path).name, "sha256": hashlib.sha256(content).hexdigest()}
        self.put(agent["name"], content)
        machine = {"gpu": "T4", "price_usd": 0.5, "launched_at": 1.8e9, "owner": "someone"}
        about = {"bucket": bucket, "prefix": self.prefix, "group": self.name, "agent": agent, "machine": machine}
        about["patience_s"], about["pause_s"] = 2, 0.2
        (home / "settings").write_text(json.dumps(about))
        (home / "boot.pyz").write_bytes(pack_boot())
        keep_compiled(home)  # half of a machine's start
        (home / "state").write_text("running\n")
        (home / "bin/sudo").write_text(SUDO)
        (home / "bin/sudo").chmod(0o755)
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
        environment["PATH"] = f"{self.node.home}/bin:{environment['PATH']}"
        words = ["sh", "-c", command.replace("python3", self.node.python)]
        self.processes.append(Popen(words, cwd=self.node.home, env=environment, stdin=DEVNULL, stdout=out, stderr=out))

    def start(self) -> None:
        """Start its service, which starts again whatever ends, as systemd does."""
        self.run("while :; do python3 -I -S boot.pyz settings && python3 -I -S .gpujob/agent.pyz away; sleep 0.2; done")

    def guard(self, warning_s: float = 1) -> None:
        """Start its guard once there is an agent, as systemd does."""
        self.run(
            f"until test -e .gpujob/agent.pyz; do sleep 0.1; done; exec python3 -I -S .gpujob/agent.pyz guard 0 {warning_s}"
        )

    def lease(self, until: float) -> None:
        """Set the end of its lease, with the command that its user data would have installed."""
        (self.node.home / "lease").write_text(str(until))

    def lease_end(self) -> float:
        """Return the end of its lease."""
        return float((self.node.home / "lease").read_text())

    def notice(self) -> None:
        """Announce that AWS takes the machine."""
        at = json.dumps({"action": "terminate", "time": "2030-01-01T00:00:00Z"})
        self.metadata.entries["meta-data/spot/instance-action"] = at

    def said(self) -> str:
        return (self.node.home / "journal").read_text()

    def terminate_service(self) -> None:
        """End the agent at work, as systemd does; the job's processes stay. It is then started again."""
        for pid in self.node.processes("away"):
            os.kill(pid, signal.SIGTERM)

    def shut_down(self) -> None:
        """Shut the machine down: its services end, within the time that systemd allows; then everything else."""
        (self.node.home / "state").write_text("stopping\n")
        for process in self.processes:
            process.kill()
        self.terminate_service()
        wait_for(lambda: not self.node.processes("away"), f"end of the service of {self.name}", 90)
        self.kill()

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


@pytest.fixture
def sending(proxy: Proxy, tmp_path: Path) -> Iterator[Sending]:
    proxy.rule = lambda method, path: ""
    proxy.policy = make_machine_policy("bucket-*")
    sending = Sending(proxy, tmp_path)
    yield sending
    proxy.rule, proxy.ahead_s = lambda method, path: "", 0.0
    for machine in sending.machines:
        machine.kill()
