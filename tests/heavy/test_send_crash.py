"""A `send` that is killed at any call leaves nothing that bills without an end, and is resumed.

It is killed after each call that creates or changes something in EC2 or Auto Scaling. Before the next of these calls AWS is
in the same state, save for what the bucket stores.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.ec2.account import Account, open_local
from infra.ec2.machines.removal import remove_cluster
from infra.ec2.scaling import groups, schedule
from infra.ec2.storage.buckets import ready_bucket
from infra.ec2.storage.objects import Store
from infra.launch import plans
from infra.launch.plans import Plan
from infra.ledger.attempts import begin, read_attempt
from infra.local.cloud.server import control
from infra.model import LaunchRequest, Request
from infra.project.files import read_project
from infra.run.submission import Submission
from infra.send.bundle import Terms
from infra.send.creation import Sending, create_resources
from tests.cloudwatch import FEW_REGIONS, Watch, lasting_cloud, watch
from tests.conftest import Laptop, wait_for

pytestmark = pytest.mark.timeout(600)

CALLS = (
    "ImportKeyPair",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateAutoScalingGroup",
    "SuspendProcesses",
    "PutScheduledUpdateGroupAction",
    "UpdateAutoScalingGroup",
)


class Killed(BaseException):
    """The end of a process, at a call."""


def kill_after(account: Account, call: str) -> None:
    """End what runs once AWS has answered a call."""

    def end(model: Any, **_: Any) -> None:
        if model.name == call:
            raise Killed

    for client in (account.ec2, account.scaling):
        client.meta.events.register("after-call", end)


@dataclass(frozen=True)
class Site:
    """A project, and a local cloud whose machines never boot."""

    laptop: Laptop
    watch: Watch

    def open(self) -> Account:
        return open_local(self.watch.cloud.url, self.watch.cloud.access_key)

    def plan(self, name: str) -> Plan:
        types, role = ("g4dn.xlarge",), "gpujob-machines"
        request = LaunchRequest(instance_types=types, regions=("us-east-1",), instance_profile=role)
        return plans.make_plan(self.open(), name, request)

    def create(self, plan: Plan, account: Account) -> None:
        """Do what `send` does until it waits for the first machine, and nothing of what it does after an error."""
        name = plan.name
        plan = replace(plan, choices=(replace(plan.first, account=account),))
        attempt = read_attempt(name) or begin(account, plan.request, plan.lease)
        submission = Submission(read_project(self.laptop.project), Request(("python", "sleep.py")), None)
        store = Store(account, ready_bucket(account, "auto"))
        create_resources(plan, attempt, Sending(store, submission, Terms()), f"{name}/{attempt.token}/", lambda _: None)

    def check(self) -> None:
        """Every group that keeps machines has an end in AWS, every machine belongs to one and has an end of its own."""
        account, now = self.open(), time.time()
        members = set()
        for group in groups.find_groups(account):
            end = schedule.find_end(account, group.name)
            assert group.capacity == 0 or (end is not None and now < end < now + 13 * 3600), group
            members |= {one.instance_id for one in group.members}
        for machine in self.watch.living():
            end = self.watch.lease_end_s(machine["InstanceId"])
            assert end is not None and now < end < now + 13 * 3600
            assert machine["InstanceId"] in members


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lasting_cloud(tmp_path_factory.mktemp("send-crash")) as laptop:
        cloud = watch(laptop).cloud
        control.add_faults(cloud, "boot=3600", *FEW_REGIONS)
        laptop.write("sleep.py", "import time\ntime.sleep(600)\n")
        yield Site(laptop, watch(laptop))


def test_a_send_killed_after_each_call_in_turn_leaves_nothing_without_an_end_and_is_resumed(
    site, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plan = site.plan("resumed")
    for call in CALLS:
        account = site.open()
        kill_after(account, call)
        with pytest.raises(Killed):
            site.create(plan, account)
        site.check()
        capacity = [one.capacity for one in groups.find_groups(site.open(), "resumed")]
        assert capacity == ([] if call in CALLS[:4] else [int(call == CALLS[-1])]), call
    site.create(plan, site.open())
    site.check()
    [group] = groups.find_groups(site.open(), "resumed")
    assert group.capacity == 1
    wait_for(lambda: len(site.watch.living()) == 1, "machine")
    site.check()
    remove_cluster(site.open(), "resumed", lambda _: None)
    assert site.watch.remains() == []
