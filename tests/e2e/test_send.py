"""A sent job, from the laptop that sends it to its end: machines are lost, laptops change, AWS keeps it going."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from infra.ec2.account import Account, open_local
from infra.ec2.scaling import activities, groups, schedule
from infra.ec2.tags import RANK_TAG
from infra.local.cloud.server import control
from infra.local.machine import userdata
from infra.node.agent.records import PREEMPTED
from tests.cloudwatch import FEW_REGIONS, Watch, lasting_cloud, watch
from tests.conftest import Finished, Laptop, wait_for

pytestmark = pytest.mark.timeout(600)

LOOP = """
import json, os, pathlib, time
path = pathlib.Path("state.json")
state = json.loads(path.read_text()) if path.exists() else {"step": 0, "sum": 7}
while state["step"] < 6:
    state = {"step": state["step"] + 1, "sum": (state["sum"] * 31 + state["step"]) % 1000003}
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)
    print("step", state["step"], os.environ["GPUJOB_ATTEMPT"], flush=True)
    if state["step"] == 3:
        time.sleep(600)  # until the machine is lost
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("begun", flush=True)
time.sleep(900)
"""
TASK = """
import os, pathlib, sys, time
path = pathlib.Path("result")
path.write_text((path.read_text() if path.exists() else "") + f"{sys.argv[1]}.{os.environ['GPUJOB_ATTEMPT']} ")
if sys.argv[1] == "2" and os.environ["GPUJOB_ATTEMPT"] == "1":
    time.sleep(600)  # until the machine is lost
"""
SAVE = "import pathlib, time\npathlib.Path('saved').write_text('whole')\ntime.sleep(600)\n"
SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def count(steps: int) -> dict[str, int]:
    """Return what the loop has saved after so many steps without any interruption."""
    total = 7
    for step in range(steps):
        total = (total * 31 + step) % 1000003
    return {"step": steps, "sum": total}


@dataclass(frozen=True)
class Site:
    """A laptop with a local cloud that has no other machines."""

    laptop: Laptop
    watch: Watch
    account: Account

    @property
    def bucket(self) -> str:
        return f"gpujob-{self.account.identity.account_id}-us-east-1"

    def send(self, name: str, *words: str) -> None:
        sent = self.laptop.type("send", "--dry-run", "--name", name, *words, timeout_s=300)
        assert (sent.code, "this computer is not needed any more" in sent.said) == (0, True), sent.said

    def token(self, name: str) -> str:
        return groups.find_group(self.account, name).token

    def read(self, name: str, path: str, token: str = "") -> Any:
        """Return an object of a sent job; None without it."""
        key = f"{name}/{token or self.token(name)}/{path}"
        try:
            return json.loads(self.account.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except self.account.s3.exceptions.NoSuchKey:
            return None

    def begun(self, name: str) -> bool:
        """Return whether the job has printed anything that is in the bucket."""
        return bool((self.read(name, "tasks/0/1/outputs.json") or {"log_bytes": 0})["log_bytes"])

    def lose(self, name: str, task: int, written: str) -> str:
        """Let AWS take the machine that works on a task once that has written a file; return it."""
        hosts = self.laptop.home / ".local/state/gpujob/local/hosts"

        def find() -> list[str]:
            machine = (self.read(name, f"tasks/{task}/claim") or {"machine": "none"})["machine"]
            return [machine] if any(hosts.glob(f"{machine}/home/.gpujob/work/*/project/{written}")) else []

        wait_for(find, f"file {written}", deadline_s=120)
        [machine] = find()
        self.watch.ec2.create_tags(Resources=[machine], Tags=[{"Key": RANK_TAG, "Value": "7"}])
        return machine

    def wait_for_end(self, name: str) -> dict[str, Any]:
        wait_for(lambda: self.read(name, "tasks/0/end.json"), "end of the job", deadline_s=300)
        found = self.read(name, "tasks/0/end.json")
        wait_for(lambda: not self.watch.living(), "end of the machines", deadline_s=120)
        assert groups.find_group(self.account, name).capacity == 0
        return dict(found)


def record(project: Path) -> None:
    """Commit a project; later files are uncommitted changes."""
    for words in ("init -q", "add .", "-c user.name=me -c user.email=me@example.com commit -q -m first"):
        subprocess.run(["git", "-C", project, *words.split()], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lasting_cloud(tmp_path_factory.mktemp("send")) as laptop:
        cloud = watch(laptop).cloud
        control.add_faults(cloud, *FEW_REGIONS)
        laptop.write("loop.py", LOOP)
        record(laptop.project)
        laptop.write("sleep.py", SLEEP)
        laptop.write("stubborn.py", STUBBORN)
        laptop.write("task.py", TASK)
        laptop.write("save.py", SAVE)
        yield Site(laptop, watch(laptop), open_local(cloud.url, cloud.access_key))


def add_hours(laptop: Laptop, name: str) -> float:
    """Return the hours that `cost` counts for a cluster, at prices that are known."""
    rows = [row for row in json.loads(laptop.type("cost", "--dry-run", "--json").out) if row["cluster"] == name]
    assert not any(row["at_most"] for row in rows)
    return sum(row["hours"] for row in rows)


def move_away(laptop: Laptop, folder: Path) -> Laptop:
    """Return another laptop with a clone of the project, which reaches the same cloud and knows nothing of its clusters."""
    state = folder / "home/.local/state/gpujob"
    state.mkdir(parents=True)
    (state / "local").symlink_to(laptop.home / ".local/state/gpujob/local")
    shutil.copytree(laptop.project, folder / "project", ignore=shutil.ignore_patterns("runs"))
    return replace(laptop, home=folder / "home", project=folder / "project", settings={"GPUJOB_DRY_RUN": "1"})


def test_a_job_goes_on_after_its_machine_was_taken_and_another_laptop_gets_all_of_it(site, tmp_path):
    site.send("away", "--spot", "loop.py")
    [first] = site.watch.living()
    results = site.laptop.project / "runs/away-1"
    assert "+++ b/sleep.py" in (results / "changes.patch").read_text()  # it is in no commit
    wait_for(lambda: site.begun("away"), "first upload", deadline_s=120)
    early = site.laptop.type("fetch", "--cluster", "away")
    assert (early.code, (results / "files").is_dir()) == (0, True), early.said
    control.add_faults(site.watch.cloud, "interrupt=8")
    gone = first["InstanceId"]
    jobs = site.laptop.home / f".local/state/gpujob/local/hosts/{gone}/home/.gpujob/jobs"
    wait_for(lambda: [*jobs.glob(f"*/{PREEMPTED}")], "notice")
    control.clear_faults(site.watch.cloud)  # its replacement would be taken, too
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    wait_for(lambda: gone not in [one["InstanceId"] for one in site.watch.living()], "end of the first machine")
    wait_for(lambda: (site.read("away", "tasks/0/claim") or {})["attempt"] == 2, "second attempt", deadline_s=200)

    other = move_away(site.laptop, tmp_path)
    end = site.wait_for_end("away")
    assert (end["state"], end["exit_code"], end["attempt"], end["complete"]) == ("succeeded", 0, 2, True)
    listed = other.type("jobs", "--cluster", "away", "--json")
    assert [job["state"] for job in json.loads(listed.out)] == ["succeeded"], listed.said
    assert other.type("logs", "--cluster", "away").out.splitlines() == ["step 4 2", "step 5 2", "step 6 2"]
    fetched = other.type("fetch", "--cluster", "away")
    assert json.loads((other.project / "runs/away-1/files/state.json").read_text()) == count(6), fetched.said
    again = other.type("jobs", "--cluster", "away", "--json")
    assert [job["fetched"] for out in (listed.out, again.out) for job in json.loads(out)] == [False, True]
    machine = json.loads(other.type("receipt", "--cluster", "away", "--json").out)["instance_id"]
    assert machine != gone

    spent = add_hours(site.laptop, "away")
    lives = activities.find_lives(site.account, "gpujob-away").values()
    assert spent == pytest.approx(sum(end - begun for begun, end in lives) / 3600, abs=1e-4)
    down = site.laptop.type("down", "away", "--dry-run")
    assert "unknown project" not in down.said
    assert (down.code, "nothing left that bills" in down.said) == (0, True), down.said
    assert json.loads((results / "files/state.json").read_text()) == count(6)
    assert site.watch.remains() == []
    assert add_hours(site.laptop, "away") == spent


def test_a_running_job_is_kept_extended_and_cancelled_from_another_laptop_and_its_name_is_free_again(site, tmp_path):
    site.send("again", "--max-hours", "1", "sleep.py")
    wait_for(lambda: site.begun("again"), "first upload", deadline_s=120)
    page = replace(site.laptop, settings={"GPUJOB_DRY_RUN": "1"}).type().out
    assert "gpujob logs --cluster again" in page and "gpujob run" not in page
    other = move_away(site.laptop, tmp_path)
    before = groups.find_group(site.account, "again")
    for words in (("ssh", "again"), ("top", "--cluster", "again"), ("run", "--cluster", "again", "sleep.py")):
        unreached = other.type(*words)
        assert (unreached.code, "have no login" in unreached.err) == (2, True), unreached.said
    stopped = other.type("stop", "again", "--yes")
    assert (stopped.code, "would replace stopped ones" in stopped.err) == (1, True), stopped.said
    for words, hint in (
        (("cancel", "--cluster", "again", "7"), "do not work on job 7"),
        (("cancel", "--cluster", "again", "1.0"), "gpujob cancel --cluster again 1"),
        (("fetch", "--cluster", "again", "1"), "job 1 has not ended: fetch it again"),
        (("rerun", "again-1", "--cluster", "again"), "gpujob up again-2; then: gpujob rerun again-1"),
    ):
        assert hint in other.type(*words).err
    twice = site.laptop.type("send", "--dry-run", "--name", "again", "sleep.py")
    assert (twice.code, "send it as --name again-2" in twice.err) == (2, True), twice.said
    kept = other.type("bucket", "rm", "auto", "--cluster", "again", "--yes")
    assert (kept.code, "gpujob cancel --cluster again" in kept.err) == (1, True), kept.said
    assert site.read("again", "send.json")
    refused = other.type("down", "again")
    assert (refused.code, "has not ended" in refused.err, len(site.watch.living())) == (1, True, 1), refused.said
    extended = other.type("extend", "again", "2h")
    assert extended.code == 0, extended.said
    until = before.lease_until + 2 * 3600
    [machine] = site.watch.living()
    wait_for(lambda: (site.read("again", "lease.json") or {})["until"] == until, "new end in the bucket")
    found = site.account.ec2.describe_launch_template_versions(
        LaunchTemplateName="gpujob-again-on-demand", Versions=["$Latest"]
    )
    template = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    data = base64.b64decode(template["UserData"]).decode()
    assert (userdata.lease_end_s(data), template["KeyName"]) == (until, "gpujob-again")
    assert schedule.find_end(site.account, "gpujob-again") == until
    assert abs(time.time() + 3 * 3600 - until) < 600
    armed = site.laptop.home / ".local/state/gpujob/local/hosts" / machine["InstanceId"] / "lease"
    wait_for(lambda: float(armed.read_text() or 0) == until, "new end on the machine", deadline_s=60)

    token = site.token("again")
    cancelled = other.type("cancel", "--cluster", "again")
    assert "will stop within 20 s" in cancelled.said
    assert site.wait_for_end("again")["state"] == "cancelled"
    site.send("again", "--max-hours", "1", "sleep.py")
    assert site.token("again") != token
    forced = site.laptop.type("down", "again", "--dry-run", "--force")
    assert (forced.code, site.watch.remains()) == (0, []), forced.said
    assert site.read("again", "tasks/0/end.json", token)["state"] == "cancelled"


def test_a_task_of_a_lost_machine_is_done_by_another_and_a_job_is_cancelled_while_it_has_none(site, tmp_path):
    """Two jobs at a time: a grid on two machines that loses one of them, and a job that loses its only one."""
    grid = ("--nodes", "2", "--grid", "n=0,1,2,3,4", "task.py", "{n}")
    prepared = [
        site.laptop.prepare("send", "--dry-run", "--spot", "--name", name, *words)
        for name, words in (("grid", grid), ("alone", ("save.py",)))
    ]
    for process in prepared:
        process.send_signal(signal.SIGCONT)
    assert [Finished.of(process, 300).code for process in prepared] == [0, 0]
    lost = {site.lose("grid", 2, "result"), site.lose("alone", 0, "saved")}
    control.add_faults(site.watch.cloud, "interrupt=8@7", "no-capacity=*")
    wait_for(lambda: not lost & {one["InstanceId"] for one in site.watch.living()}, "end of both machines")
    other = move_away(site.laptop, tmp_path)
    cancelled = other.type("cancel", "--cluster", "alone", "1")
    assert "will stop within 20 s" in cancelled.said
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)

    for name in ("grid", "alone"):
        wait_for(lambda name=name: not groups.find_group(site.account, name).capacity, f"end of {name}", 200)
    wait_for(lambda: not site.watch.living(), "end of all machines", deadline_s=120)
    end = site.read("alone", "tasks/0/end.json")
    assert (end["state"], end["exit_code"], end["attempt"]) == ("cancelled", None, 2)
    ends = [site.read("grid", f"tasks/{task}/end.json") for task in range(5)]
    assert [(end["state"], end["attempt"]) for end in ends] == [("succeeded", 1 + (task == 2)) for task in range(5)]
    for name in ("alone", "grid"):
        fetched = other.type("fetch", "--cluster", name)
        assert fetched.code == 0, fetched.said
    runs = other.project / "runs"
    assert (runs / "alone-1/files/saved").read_text() == "whole"
    results = [(runs / f"grid-1/files/{task}/result").read_text() for task in range(5)]
    assert results == ["0.1 ", "1.1 ", "2.1 2.2 ", "3.1 ", "4.1 "]
    tasks = json.loads(other.type("tasks", "grid-1", "--json").out)
    assert [(task["values"], task["state"]) for task in tasks] == [({"n": f"{n}"}, "succeeded") for n in range(5)]
    assert site.read("grid", "tasks/2/claim")["machine"] not in lost
    for name in ("alone", "grid"):
        down = site.laptop.type("down", name, "--dry-run")
        assert down.code == 0, down.said
    assert site.watch.remains() == []


def freeze_agent(home: Path) -> None:
    """Freeze all processes of a machine's agent, its guard and its work on the job: they end nothing and renew nothing."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            own = f"HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if own and b"agent.pyz" in words:
            os.kill(int(entry.name), signal.SIGSTOP)


def test_nothing_runs_three_minutes_after_a_lease_whose_guard_is_frozen_whose_timer_is_gone_or_both(site):
    """AWS ends the group by itself, whatever a machine does."""
    names = ("frozen", "timeless", "neither")
    prepared = [
        site.laptop.prepare("send", "--dry-run", "--name", name, "--max-hours", "1", "stubborn.py") for name in names
    ]
    for process in prepared:
        process.send_signal(signal.SIGCONT)
    assert [Finished.of(process, 300).code for process in prepared] == [0, 0, 0]
    hosts = site.laptop.home / ".local/state/gpujob/local/hosts"
    for name in names:
        wait_for(lambda name=name: site.begun(name), "first upload", deadline_s=180)
        [member] = groups.find_group(site.account, name).members
        host = hosts / member.instance_id
        if name != "frozen":
            (host / "power").write_text(f"lease {time.time() + 9 * 3600:.0f}\n")
        if name != "timeless":
            freeze_agent(host / "home")
    assert len(site.watch.living()) == len(names)
    control.add_faults(site.watch.cloud, "clock=3700")  # by the clock of AWS, the lease is over
    wait_for(lambda: not site.watch.living(), "end of all machines", deadline_s=180)
    for name in names:
        group = groups.find_group(site.account, name)
        assert (group.capacity, schedule.find_end(site.account, group.name)) == (0, None)
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    for name in names:
        down = site.laptop.type("down", name, "--dry-run", "--force")
        assert down.code == 0, down.said
    assert site.watch.remains() == []
