"""A `send` that is killed leaves nothing that bills without an end, and is never mixed with another one.

All of it with the permissions that gpujob prints. `tests/heavy/test_send_crash.py` kills at every call.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.ec2.scaling import activities, groups
from infra.ec2.storage.policies import make_send_policy
from infra.local.cloud.iam import permissions, policies
from infra.local.cloud.server import control
from infra.names import name_for
from tests.cloudwatch import FEW_REGIONS
from tests.conftest import Finished, wait_for
from tests.killed_sends import ALLOWED, ANN, BUCKET, Site, open_site

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("killed")) as site:
        yield site


def test_a_send_killed_again_and_again_bills_nothing_without_an_end_and_runs_only_the_last_job(site):
    """Until a group keeps a machine, another job may take its place; from then on, it is refused."""
    control.clear_trail(site.watch.cloud)
    site.kill_send("PutObject.3:after", "again", "other", ends=False)
    for point, capacity in (("PutScheduledUpdateGroupAction:after", 0), ("UpdateAutoScalingGroup:after", 1)):
        site.kill_send(point, "again", "right", ends=False)
        assert site.capacity("again") == capacity, point
    wait_for(lambda: site.boots("again"), "machine")
    early = site.laptop.type("down", "again", "--dry-run")  # before it has uploaded anything
    assert (early.code, "of 'again' has" in early.err, site.capacity("again")) == (1, True, 1), early.said
    before = site.read("again", "send.json")
    other = site.send("again", "other", ends=False)
    assert (other.code, "gpujob jobs --cluster again" in other.err) == (2, True), other.said
    wait_for(lambda: site.keys("again", "tasks/0/1/job.json"), "job")
    listed = site.laptop.type("jobs", "--cluster", "again")
    assert (listed.code, "running" in listed.out) == (0, True), listed.said
    [machine] = site.watch.living()
    same = site.send("again", "right", ends=False)
    assert (same.code, machine["InstanceId"] in same.said) == (0, True), same.said
    assert site.read("again", "send.json") == before
    for words in (("extend", "again", "1h"), ("cancel", "--cluster", "again")):
        done = site.laptop.type(*words)
        assert done.code == 0, done.said
    assert [machine["InstanceId"]] == site.boots("again")
    site.give_back("again", "--force")
    check_each_statement_is_used(site)


def check_each_statement_is_used(site: Site) -> None:
    """Without any statement of `policy --send`, something of that would have been denied."""
    needs = [permissions.Need(**need) for event in control.read_trail(site.watch.cloud) for need in event["needs"]]
    own = {"aws:userid": ANN["user_id"], "aws:PrincipalAccount": "123456789012"}
    for left_out in make_send_policy(owner_only=True)["Statement"]:
        rest = {**ALLOWED, "Statement": [each for each in ALLOWED["Statement"] if each != left_out]}
        denied = {need.action for need in needs if not policies.is_allowed(rest, need, own)}
        assert denied & {*left_out["Action"]} or left_out["Action"] == ["iam:CreateServiceLinkedRole"], left_out


def test_a_job_that_ended_after_its_send_was_killed_is_not_run_a_second_time(site):
    site.kill_send("UpdateAutoScalingGroup:after", "once", "once")
    assert site.wait_for_end("once")["state"] == "succeeded"
    logs = site.laptop.type("logs", "--cluster", "once")
    assert logs.out == "once\n", logs.said
    again = site.send("once", "once")
    assert (again.code, "was sent before, and has ended" in again.said, site.capacity("once")) == (0, True, 0), (
        again.said
    )
    fetched = site.laptop.type("fetch", "--cluster", "once")
    assert fetched.code == 0, fetched.said
    site.give_back("once")
    assert (site.laptop.project / "runs/once-1/files/out.txt").read_text() == "once 1"


def test_without_capacity_send_and_ls_say_so_in_aws_s_words_and_sweep_removes_what_works_on_nothing(site):
    """That is one whose job was deleted from the bucket; `tests/e2e/test_sent_groups.py` has one whose lease is over."""
    assert site.send("kept", "first").code == 0
    site.wait_for_end("kept")
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    for name in ("lost", "kept"):
        sent = site.send(name, name)
        assert (sent.code, sent.said.count("AWS: Could not launch On-Demand Instances.")) == (0, 1), sent.said
    [words] = [line.removeprefix("  AWS: ") for line in sent.said.splitlines() if "AWS: Could not" in line]
    listed = site.laptop.type("ls", "--dry-run")
    assert (
        "kept waits for 1 machine; AWS says: Could not launch On-Demand Instances. InsufficientInstanceCapacity"
        in listed.said
    )
    assert words in activities.find_obstacles(activities.read_activities(site.account, "gpujob-kept"))
    site.delete("lost", "send.json")
    swept = site.laptop.type("sweep", "--dry-run", "--yes")
    assert (swept.code, "no longer in the bucket" in swept.said) == (0, True), swept.said
    assert (site.watch.groups(), site.keys("lost")) == (["gpujob-kept"], [])
    waiting = site.laptop.type("logs", "--cluster", "kept")  # not those of its first job
    assert (waiting.out, "no machine of 'kept' has begun the job yet" in waiting.err) == ("", True), waiting.said
    cancelled = site.laptop.type("cancel", "--cluster", "kept")
    assert (cancelled.code, "job 2 has not begun" in cancelled.said) == (0, True), cancelled.said
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    assert site.wait_for_end("kept")["state"] == "cancelled"
    site.give_back("kept")
    assert site.watch.remains() == []


def test_every_command_in_its_folder_knows_a_job_that_waits_for_its_first_machine(site):
    """Its number is on the screen, its group may launch a machine at any time, and its lease runs."""
    name = name_for(site.laptop.project)
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    words = (*site.words(name, "late")[:4], "--spot", *site.words(name, "late")[4:])
    assert site.laptop.type(*words).code == 0
    page = replace(site.laptop, settings={"GPUJOB_DRY_RUN": "1"}).type().out
    assert f"{name}\twaiting" in page and f"gpujob down {name}" in page and "Nothing is running" not in page
    [row] = json.loads(site.laptop.type("ls", "--dry-run", "--json").out)
    assert (row["nodes"][0]["market"], row["at_most"], row["lease_left_s"] > 0) == ("spot", False, True)
    for command in (("logs",), ("fetch", "1"), ("logs", "1")):
        early = site.laptop.type(*command)
        assert (early.code, f"no machine of '{name}' has begun the job yet" in early.err) == (1, True), early.said
        assert "results of job" not in early.err
    assert "\tqueued\t" in site.laptop.type("jobs").out
    before = groups.find_group(site.account, name).lease_until
    extended = site.laptop.type("extend", "1h")
    assert (extended.code, groups.find_group(site.account, name).lease_until - before) == (0, 3600), extended.said
    told = site.read(name, "send.json")
    site.delete(name, "send.json")
    refused = site.laptop.type("down", name, "--dry-run")
    assert (refused.code, "were deleted from" in refused.err) == (1, True), refused.said
    token = groups.find_group(site.account, name).token
    site.account.s3.put_object(Bucket=BUCKET, Key=f"{name}/{token}/send.json", Body=told)
    control.add_faults(site.watch.cloud, "denied=s3:ListBucket")
    for command in (("jobs",), ("fetch",), ("logs",)):
        denied = site.laptop.type(*command)
        assert (denied.code, "allow s3:ListBucket" in denied.err, "login" in denied.err) == (1, True, False), (
            denied.said
        )
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    waiting = [site.laptop.start(*command) for command in (("wait", "1"), ("logs", "-f", "-n", "0"), ("logs", "-f"))]
    for process in waiting:
        assert process.stderr and b"waiting for one" in process.stderr.readline()
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    ended = [Finished.of(process) for process in waiting]
    assert [(one.code, one.out) for one in ended] == [(0, ""), (0, ""), (0, "late\n")], [one.said for one in ended]
    assert all("job 1 succeeded" in one.err for one in ended)
    site.wait_for_end(name)
    [line] = [each for each in site.give_back(name).err.splitlines() if "remove: gpujob bucket rm" in each]
    removed = site.laptop.type(*line.split()[2:], "--yes")  # as it says, where GPUJOB_DRY_RUN is not set
    assert (removed.code, site.keys(name)) == (0, []), removed.said
    costs = json.loads(site.laptop.type("cost", "--dry-run", "--json").out)
    assert all(0 < row["hours"] < 0.05 for row in costs if row["cluster"] == name), costs


def test_a_send_that_fails_leaves_nothing_in_the_bucket_either(site):
    control.add_faults(site.watch.cloud, "denied=autoscaling:CreateAutoScalingGroup")
    failed = site.send("failed", "failed")
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    assert (failed.code, "autoscaling:CreateAutoScalingGroup" in failed.err) == (1, True), failed.said
    assert (site.keys("failed"), [one for one in site.watch.remains() if "gpujob-failed" in one]) == ([], [])


def test_a_group_launches_in_the_zones_of_the_plan_only_and_tries_again_once_aws_has_stopped_trying(site):
    control.add_faults(site.watch.cloud, "no-capacity=g*")
    sent = site.laptop.type(*site.words("zoned", "zoned")[:-3], "--zone", "us-east-1b", "script.py", "zoned", "never")
    assert sent.code == 0, sent.said
    name, scaling = "gpujob-zoned", site.account.scaling
    [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    assert group["AvailabilityZones"] == ["us-east-1b"]
    scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])  # as AWS does after a day
    control.clear_faults(site.watch.cloud)
    control.add_faults(site.watch.cloud, *FEW_REGIONS)
    listed = site.laptop.type("ls", "--dry-run")
    assert "zoned waits for 1 machine; AWS says: Launch is suspended" in listed.said
    assert "to try again: gpujob extend zoned 1h" in listed.said
    extended = site.laptop.type("extend", "zoned", "1h")
    assert extended.code == 0, extended.said
    wait_for(lambda: site.boots("zoned"), "machine")
    assert site.laptop.type("down", "zoned", "--dry-run", "--force").code == 0
