"""What the cloud gets wrong on demand, each with its documented end, and nothing of ours left but what is listed."""

import json
import re
import signal
from collections.abc import Iterator

import pytest

from infra.ec2.tags import HOURS_TAG, LEASE_TAG, SPENT_TAG
from infra.local.cloud.server import control
from tests.cloudwatch import Watch, lasting_cloud, watch
from tests.conftest import Finished, Laptop, epoch
from tests.typist import Typed

pytestmark = pytest.mark.timeout(400)

UP = ("up", "--dry-run", "--gpu", "T4")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with lasting_cloud(tmp_path_factory.mktemp("faults")) as laptop:
        yield laptop


@pytest.fixture
def cloud(warm: Laptop) -> Iterator[Watch]:
    watching = watch(warm)
    yield watching
    control.clear_faults(watching.cloud)
    assert watching.remains() == []


def fails(laptop: Laptop, *words: str, command: tuple[str, ...] = UP, code: int = 1) -> str:
    """Type a command that is refused in a few lines and without a traceback; return what it said."""
    ended = laptop.type(*command)
    assert ended.code == code, ended.said
    assert "Traceback" not in ended.said
    for word in words:
        assert word in ended.err, ended.err
    return ended.err


def succeeds(laptop: Laptop, *words: str) -> list[dict]:
    """Rent, and give back; return the nodes that were there."""
    up = laptop.type(*UP, *words)
    assert up.code == 0, up.said
    [found] = json.loads(laptop.type("ls", "--dry-run", "--json").out)
    down = laptop.type("down")
    assert down.code == 0, down.said
    assert "nothing left that bills" in down.err
    return found["nodes"]


def tags_of(cloud: Watch) -> dict[str, str]:
    """What the only machine's tags say of its lease and of what it has cost before."""
    [machine] = cloud.living()
    tags = {SPENT_TAG: "0.000000", HOURS_TAG: "0.000000"} | {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    return {name: tags[name] for name in (LEASE_TAG, SPENT_TAG, HOURS_TAG)}


def test_without_capacity_in_some_zones_another_zone_is_taken(warm, cloud):
    zones = "abcde"
    control.add_faults(cloud.cloud, *(f"no-capacity=*@us-east-1{zone}" for zone in zones))
    (node,) = succeeds(warm)
    assert node["zone"] == "us-east-1f"


def test_of_twelve_pools_the_only_one_with_a_machine_is_found_in_five_requests_each_with_its_own_token(warm, cloud):
    """EC2 tries about three pools for one request, and answers a token that it knows as before."""
    full = [
        "no-capacity=g4dn.xlarge",
        "no-capacity=g4dn.2xlarge",
        *(f"no-capacity=*@us-east-1{zone}" for zone in "abc"),
    ]
    control.add_faults(cloud.cloud, *full)
    control.clear_trail(cloud.cloud)
    words = [word for size in ("", "2", "4") for word in ("--instance-type", f"g4dn.{size}xlarge")]
    (node,) = succeeds(warm, *words, *(word for zone in "abcd" for word in ("--zone", f"us-east-1{zone}")))
    assert (node["instance_type"], node["zone"]) == ("g4dn.4xlarge", "us-east-1d")
    asked = [one["params"] for one in control.read_trail(cloud.cloud) if one["action"] == "CreateFleet"]
    overrides = [name for name in asked[0] if name.endswith(".InstanceType")]
    assert (len(overrides), 2 <= len(asked) <= 5) == (12, True)
    assert len({one["ClientToken"] for one in asked}) == len(asked)


def test_several_nodes_are_found_in_the_last_zone_too(warm, cloud):
    control.add_faults(cloud.cloud, *(f"no-capacity=*@us-east-1{zone}" for zone in "abcde"))
    assert {node["zone"] for node in succeeds(warm, "--nodes", "2", "--spot")} == {"us-east-1f"}


def test_a_security_group_that_fleets_do_not_find_yet_is_waited_for(warm, cloud):
    control.add_faults(cloud.cloud, "unsettled=3")
    assert len(succeeds(warm)) == 1


def test_an_account_that_cannot_use_spot_machines_is_told_how_and_spot_first_goes_on_without(warm, cloud):
    control.add_faults(cloud.cloud, "no-spot-role")
    fails(warm, "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com", command=(*UP, "--spot"))
    (node,) = succeeds(warm, "--spot-first")
    assert node["market"] == "on-demand"


def test_a_stopped_machine_that_finds_no_capacity_keeps_its_disk_and_can_be_started_later(warm, cloud):
    assert warm.type(*UP).code == 0
    before = tags_of(cloud)
    control.add_faults(cloud.cloud, "denied=ec2:StopInstances")
    fails(warm, "ec2:StopInstances", command=("stop",))
    assert tags_of(cloud) == before  # otherwise its hours would count twice
    control.clear_faults(cloud.cloud)
    assert warm.type("stop").code == 0
    before = tags_of(cloud)
    control.add_faults(cloud.cloud, "no-capacity=*")
    fails(warm, "InsufficientInstanceCapacity", "rerun later: gpujob start project", command=("start",))
    assert tags_of(cloud) == before
    control.clear_faults(cloud.cloud)
    assert warm.type("start").code == 0
    assert warm.type("down").code == 0


def test_without_any_capacity_it_says_so_and_what_to_try(warm, cloud):
    control.add_faults(cloud.cloud, "no-capacity=*")
    fails(warm, "InsufficientInstanceCapacity", "next:", "--region")


def wait_for_machine(laptop: Laptop, *words: str) -> Typed:
    """Start an `up` that waits for a free machine, and return its process once it says what it waits for."""
    process = laptop.start(*UP, "--wait", "10m", *words)
    said = b""
    while b"waiting for a free g4dn.xlarge or g4dn.2xlarge in us-east-1 or eu-west-1; next attempt at" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process


def test_up_waits_until_a_machine_is_free_in_any_region_and_leaves_nothing_when_it_is_interrupted(warm, cloud):
    control.add_faults(cloud.cloud, "no-capacity=*")
    regions = ("--region", "us-east-1", "--region", "eu-west-1")
    for name, number, code in (("stopped", signal.SIGINT, 130), ("killed", signal.SIGKILL, -signal.SIGKILL)):
        waiting = wait_for_machine(warm, name, *regions)
        waiting.send_signal(number)
        ended = Finished.of(waiting)
        # On a busy computer, the next attempt may have begun.
        said = "nothing was launched" in ended.err or "everything it launched was removed" in ended.err
        assert (ended.code, said) == (code, name == "stopped"), ended.said
        assert cloud.remains() == watch(warm, "eu-west-1").remains() == []
    waiting = wait_for_machine(warm, "patient", *regions)
    control.clear_faults(cloud.cloud)
    control.add_faults(cloud.cloud, "no-capacity=*@us-east-1*")
    done = Finished.of(waiting)
    assert done.code == 0, done.said
    [found] = json.loads(warm.type("ls", "--dry-run", "--json").out)
    assert (found["name"], found["region"]) == ("patient", "eu-west-1")
    assert epoch(found["lease_until"]) > epoch(found["launched_at"]) + 12 * 3600 - 60
    assert warm.type("down", "patient").code == 0
    assert watch(warm, "eu-west-1").remains() == []


def test_a_machine_whose_user_data_failed_gets_its_lease_over_ssh(warm, cloud):
    control.add_faults(cloud.cloud, "unarmed")
    up = warm.type(*UP, "--max-hours", "1")
    assert (up.code, "armed the lease over SSH" in up.err) == (0, True), up.said
    [found] = json.loads(warm.type("ls", "--dry-run", "--json").out)
    assert int(warm.type("ssh", "--", "sudo", "gpujob-lease").out) == int(epoch(found["lease_until"]))
    assert warm.type("extend", "2h").code == 0
    assert int(warm.type("ssh", "--", "sudo", "gpujob-lease").out) == int(epoch(found["lease_until"])) + 7200
    assert warm.type("down").code == 0


def test_a_machine_that_cannot_end_itself_is_terminated_at_once(warm, cloud):
    control.add_faults(cloud.cloud, "unarmable")
    said = fails(warm, "did not set the end of its lease", command=(*UP, "--nodes", "2"))
    assert "removing what this launch created" in said


def test_a_first_boot_that_never_finishes_is_waited_for_no_longer_than_a_boot(warm, cloud):
    control.add_faults(cloud.cloud, "unfinished")
    fails(warm, "did not finish within 5 s", command=(*UP, "--boot-timeout", "5s"))


def test_a_machine_whose_ssh_server_never_answers_is_given_back_with_its_console_s_last_lines(warm, cloud):
    control.add_faults(cloud.cloud, "mute")
    said = fails(warm, "cannot connect to", "the console of i-", command=(*UP, "--boot-timeout", "3s"))
    assert "removing what this launch created" in said


def test_a_quota_of_zero_stops_before_anything_is_made_with_the_line_that_asks_for_more(warm, cloud):
    control.clear_trail(cloud.cloud)
    control.add_faults(cloud.cloud, "quota=0")
    fails(warm, "aws service-quotas request-service-quota-increase", "--desired-value 4")
    assert "ImportKeyPair" not in {event["action"] for event in control.read_trail(cloud.cloud)}


@pytest.mark.parametrize("fault", ["throttle=30:1", "errors=20:1"])
def test_throttled_and_broken_calls_are_tried_again(warm, cloud, fault):
    control.add_faults(cloud.cloud, fault)
    assert len(succeeds(warm)) == 1


def test_a_new_instance_that_ec2_denies_for_two_seconds_is_neither_lost_nor_doubled(warm, cloud):
    control.add_faults(cloud.cloud, "invisible=2")
    assert len(succeeds(warm, "--nodes", "2")) == 2


def test_a_partial_fleet_is_given_back_whole(warm, cloud):
    control.add_faults(cloud.cloud, "partial=1")
    fails(warm, "1 of 2", command=(*UP, "--nodes", "2"))


def test_a_machine_that_ends_while_it_boots_is_told_in_ec2_s_own_words(warm, cloud):
    control.add_faults(cloud.cloud, "boot=60", "dies=1")
    fails(warm, "Server.InternalError", "next:")


def test_credentials_that_expire_half_way_are_told_and_what_is_left_is_listed_and_removed_later(warm, cloud):
    control.add_faults(cloud.cloud, "expired-after=CreateFleet")
    said = fails(warm, "aws sso login")
    control.clear_faults(cloud.cloud)
    assert "gpujob down" in said
    assert len(cloud.living()) == 1
    assert cloud.lease_end_s(cloud.living()[0]["InstanceId"])
    assert warm.type("down", "--dry-run", "--force").code == 0


@pytest.mark.parametrize("last", ["CreateLaunchTemplate", "CreateFleet"])
def test_after_a_new_login_the_same_up_resumes_with_the_machine_that_expired_credentials_left(warm, cloud, last):
    control.add_faults(cloud.cloud, f"expired-after={last}")
    said = fails(warm, "aws sso login", "then rerun to resume, or remove it: gpujob down")
    assert "continues until its lease ends" in said
    control.clear_faults(cloud.cloud)
    left = [one["InstanceId"] for one in cloud.living()]
    assert len(left) == (last == "CreateFleet")
    [node] = succeeds(warm)
    assert node["instance_id"] in (left or [node["instance_id"]]), "nothing is launched twice"
    assert cloud.remains() == []


def test_a_job_runs_to_its_end_and_is_downloaded_while_the_login_has_expired(warm, cloud):
    assert warm.type(*UP).code == 0
    control.add_faults(cloud.cloud, "expired-after=0")
    ran = warm.type("run", "--", "sh", "-c", "echo x > model.txt")
    assert ran.code == 0, ran.said
    assert list(warm.project.glob("runs/*/files/model.txt"))
    fails(warm, "aws sso login", command=("down",))
    control.clear_faults(cloud.cloud)
    assert warm.type("down").code == 0
    assert cloud.remains() == []


def test_credentials_that_expire_while_a_cluster_is_terminated_say_what_is_done_and_what_is_not(warm, cloud):
    assert warm.type(*UP).code == 0
    assert warm.type("run", "--detach", "--", "sh", "-c", "echo x > model.txt").code == 0
    assert warm.type("wait").code == 0
    control.add_faults(cloud.cloud, "expired-after=TerminateInstances")
    said = fails(warm, "project may not be terminated; its outputs are downloaded", command=("down",))
    assert re.search(
        r"project may still be running, .*; it and its jobs continue until its lease ends at \d\d:\d\d", said
    )
    assert said.endswith("next: log in: aws sso login, or aws configure; then: gpujob down\n")
    assert list(warm.project.glob("runs/*/files/model.txt"))
    listed = warm.type("ls")
    assert (listed.code, "project\tunknown" in listed.out) == (1, True), listed.said
    control.clear_faults(cloud.cloud)
    assert warm.type("down").code == 0


def test_an_action_that_is_not_allowed_is_named(warm, cloud):
    control.add_faults(cloud.cloud, "denied=ec2:RunInstances")
    fails(warm, "ec2:RunInstances")
    control.clear_faults(cloud.cloud)
    control.add_faults(cloud.cloud, "denied=ec2:CreateSecurityGroup")
    fails(warm, "ec2:CreateSecurityGroup")


def test_a_thousand_instances_of_others_hide_none_of_ours(warm, cloud):
    control.add_faults(cloud.cloud, "foreign=1000")
    assert len(succeeds(warm)) == 1


def test_a_console_that_is_silent_for_long_is_waited_for(warm, cloud):
    control.add_faults(cloud.cloud, "console=5")
    assert len(succeeds(warm)) == 1
