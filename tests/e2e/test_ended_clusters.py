"""A cluster that ended by itself says why, and is in no one's way."""

import json

from infra.local.cloud.server import control
from tests.cloudwatch import keep_alive, watch
from tests.conftest import Laptop, wait_for


def instance_ids(laptop: Laptop) -> list[str]:
    return [one["InstanceId"] for one in watch(laptop).living()]


def test_a_cluster_that_ended_in_any_way_makes_room_for_the_next_of_its_name(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    seen = watch(laptop)

    assert laptop.type("up", "--dry-run", "--idle-stop", "2h").code == 0
    laptop.type("run", "--detach", "--", "sudo", "shutdown", "-h", "now")
    wait_for(lambda: not seen.living(), "end of the machine")
    refused = laptop.type("run", "--", "true")
    assert (refused.code, "'project' ended itself at " in refused.err) == (1, True), refused.said
    assert "next: launch a new one: gpujob up project --dry-run" in refused.err

    plan = laptop.type("up", "--dry-run", "--plan")
    assert "(it powered itself off)." in plan.err, plan.said
    assert "Launching" not in plan.err
    assert seen.remains() != []  # a plan changes nothing
    again = laptop.type("up", "--dry-run", "--spot")
    assert again.code == 0, again.said
    assert again.err.index("Launching a new one...") < again.err.index("machine ")
    assert len({key["KeyName"] for key in seen.listing("keys")}) == 1

    control.add_faults(seen.cloud, "interrupt=0")
    wait_for(lambda: not seen.living(), "end of the spot machine")
    control.clear_faults(seen.cloud)
    third = laptop.type("up", "--dry-run")
    assert (third.code, "(AWS reclaimed the spot machine). Launching" in third.err) == (0, True), third.said

    seen.ec2.terminate_instances(InstanceIds=instance_ids(laptop))
    fourth = laptop.type("up", "--dry-run", "--region", "us-west-2")  # what was left in us-east-1 goes too
    assert (fourth.code, "terminated outside gpujob" in fourth.err) == (0, True), fourth.said
    assert seen.remains() == []
    [cluster] = json.loads(laptop.type("ls", "--json").out)
    assert cluster["region"] == "us-west-2"
    assert laptop.type("run", "--", "true").code == 0
    ended = [row for row in json.loads(laptop.type("cost", "--json").out) if row["missed"]]
    assert ended, "each of those that ended is counted"


def test_a_machine_that_died_after_its_up_was_killed_makes_room_too(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    control.add_faults(watch(laptop).cloud, "boot=60", "dies=1")
    up = laptop.start("up", "--dry-run")
    while b"waiting for the machine" not in (line := up.stderr.readline()):
        assert line
    up.kill()
    up.communicate()
    wait_for(lambda: not watch(laptop).living(), "death of the machine")
    control.clear_faults(watch(laptop).cloud)
    again = laptop.type("up", "--dry-run")
    assert again.code == 0, again.said
    assert "'project' ended at " in again.err
    assert "(Server.InternalError: Internal error on launch). Launching a new one..." in again.err
    assert laptop.type("down").code == 0
    assert watch(laptop).remains() == []


def test_an_up_of_another_laptop_that_is_at_work_keeps_the_name(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    ec2 = watch(laptop).ec2
    owner = json.loads(laptop.type("up", "--dry-run", "--plan", "--json").out)["owner"]
    words = {"gpujob:cluster": "project", "gpujob:owner": owner, "gpujob:launch": "of-another-laptop"}
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": key, "Value": value} for key, value in words.items()]}]
    ec2.create_key_pair(KeyName="gpujob-project", TagSpecifications=tags)
    refused = laptop.type("up", "--dry-run")
    assert refused.code == 2, refused.said
    assert "another launch of 'project' started 0 min ago and may still be running" in refused.err
    assert ec2.describe_key_pairs(KeyNames=["gpujob-project"])["KeyPairs"]
