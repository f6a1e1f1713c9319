"""Commands that are killed at a call to AWS, and what their sent jobs have left there: for tests of `send`."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.ec2.account import Account, open_local
from infra.ec2.policy import make_policy
from infra.ec2.scaling import groups, schedule
from infra.ec2.storage.policies import make_send_policy
from infra.local.cloud.server import control
from tests.cloudwatch import FEW_REGIONS, Watch, client, lasting_cloud, watch
from tests.conftest import Finished, Laptop, wait_for

KILLED = -signal.SIGKILL
ANN = {"arn": "arn:aws:iam::123456789012:user/ann", "user_id": "AIDAANN"}
BUCKET = "gpujob-123456789012-us-east-1"
POLICY = make_policy(owner_only=True)
ALLOWED = {**POLICY, "Statement": [*POLICY["Statement"], *make_send_policy(owner_only=True)["Statement"]]}
HOURS = 1
SCRIPT = """
import os, pathlib, sys, time
assert os.environ["TOKEN"] == "swordfish"
pathlib.Path("out.txt").write_text(sys.argv[1] + " " + os.environ["GPUJOB_ATTEMPT"])
print(sys.argv[1], flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class Site:
    """A laptop whose user has the policies that gpujob prints for `send`, and no more."""

    laptop: Laptop
    watch: Watch
    account: Account

    def words(self, name: str, text: str, *, ends: bool = True) -> tuple[str, ...]:
        """Return the command that sends a job which writes a text, and ends at once or never."""
        until = self.laptop.project if ends else self.laptop.project / "never"
        return (
            "send",
            "--dry-run",
            "--name",
            name,
            "--max-hours",
            str(HOURS),
            "--secret",
            "TOKEN",
            "script.py",
            text,
            str(until),
        )

    def send(self, name: str, text: str, *, ends: bool = True) -> Finished:
        """Send a job."""
        return self.laptop.type(*self.words(name, text, ends=ends))

    def kill(self, point: str, *words: str) -> int:
        """Type a command that is killed at a point; return its exit code."""
        process = self.laptop.prepare(*words)
        control.add_faults(self.watch.cloud, f"kill={process.pid}:{point}")
        process.send_signal(signal.SIGCONT)
        return Finished.of(process).code

    def kill_send(self, point: str, name: str, text: str, *, ends: bool = True) -> None:
        """Send a job with a command that is killed at a point, and see what that leaves."""
        code = self.kill(point, *self.words(name, text, ends=ends))
        assert code == KILLED, (point, code)
        self.check()

    def check(self) -> None:
        """Every group that keeps machines has an end in AWS, every machine belongs to one and has an end of its own."""
        account, now = self.account, time.time()
        living = self.watch.living()  # before the groups, which launch more meanwhile
        members = set()
        for group in groups.find_groups(account):
            end = schedule.find_end(account, group.name)
            assert group.capacity == 0 or (end is not None and now < end < now + HOURS * 3600 + 60), group
            members |= {one.instance_id for one in group.members}
        with self.unlimited():  # ann may not read user data
            ends = {one["InstanceId"]: self.watch.lease_end_s(one["InstanceId"]) for one in living}
        for machine, end in ends.items():
            assert end is not None and now < end < now + HOURS * 3600 + 60, machine
            assert machine in members

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """Let a block do what ann may not."""
        control.set_caller(self.watch.cloud)
        try:
            yield
        finally:
            control.set_caller(self.watch.cloud, **ANN, policy=ALLOWED)

    def parameters(self, name: str) -> list[str]:
        """Return the secrets that are stored of a cluster's jobs."""
        asked = [{"Key": "Path", "Option": "Recursive", "Values": [f"/gpujob/{name}"]}]
        with self.unlimited():
            found = client(self.watch.cloud, "ssm").describe_parameters(ParameterFilters=asked)["Parameters"]
        return [one["Name"] for one in found]

    def capacity(self, name: str) -> int | None:
        """Return how many machines a group keeps; None without one."""
        return next((one.capacity for one in groups.find_groups(self.account, name)), None)

    def keys(self, name: str, below: str = "") -> list[str]:
        """Return the names of a cluster's objects, without the tokens of its sent jobs."""
        found = self.account.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/").get("Contents", ())
        names = [one["Key"].split("/", 2)[2] for one in found]
        return [each for each in names if each.startswith(below)]

    def boots(self, name: str) -> list[str]:
        """Return the machines that have worked on a job."""
        return [Path(each).stem for each in self.keys(name, "boots/")]

    def read(self, name: str, path: str) -> bytes:
        """Return an object of a cluster's only sent job."""
        key = f"{name}/{groups.find_group(self.account, name).token}/{path}"
        return bytes(self.account.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def delete(self, name: str, path: str) -> None:
        """Delete an object of a sent job."""
        self.account.s3.delete_object(Bucket=BUCKET, Key=f"{name}/{groups.find_group(self.account, name).token}/{path}")

    def wait_for_end(self, name: str) -> dict[str, Any]:
        """Return how a job ended, once its machines have left, too."""
        wait_for(lambda: "tasks/0/end.json" in self.keys(name), "end of the job")
        wait_for(
            lambda: self.capacity(name) == 0 and not groups.find_group(self.account, name).members, "end of machines"
        )
        return dict(json.loads(self.read(name, "tasks/0/end.json")))

    def give_back(self, name: str, *words: str) -> Finished:
        """Type `down`, and see that nothing of the name is left."""
        down = self.laptop.type("down", name, "--dry-run", *words)
        assert down.code == 0, down.said
        assert [one for one in self.watch.remains() if f"gpujob-{name}" in one] == self.parameters(name) == []
        return down


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Yield a site with the script in its project."""
    with lasting_cloud(folder, TOKEN="swordfish") as laptop:
        cloud = watch(laptop).cloud
        control.add_faults(cloud, *FEW_REGIONS)
        control.set_caller(cloud, **ANN, policy=ALLOWED)
        laptop.write("script.py", SCRIPT)
        yield Site(laptop, watch(laptop), open_local(cloud.url, cloud.access_key))
