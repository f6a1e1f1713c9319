"""The policy that `gpujob policy` prints allows every call that is made, each on our own things, and no other."""

import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infra.ec2.network import RULE, tag_specification
from infra.ec2.policy import make_policy
from infra.ec2.tags import CLUSTER_TAG, IMAGE_TAG
from infra.local import control
from tests.cloudwatch import OURS, Watch, keep_alive, watch
from tests.conftest import Laptop, make_laptop

BEFORE_THE_MOVE = (
    ("check", "--dry-run"),
    ("offers", "--dry-run"),
    ("up", "--dry-run", "--nodes", "2", "--yes"),
    ("ls", "--all-regions"),
    ("run", "--", "true"),
    ("bake", "--as", "cake", "--yes"),
    ("images",),
    ("images", "rm", "cake", "--yes"),
    ("extend", "--hours", "1"),
    ("stop", "--yes"),
)
AFTER_THE_MOVE = (
    ("start", "--yes"),
    ("cost",),
    ("down",),
    ("up", "spot", "--dry-run", "--spot", "--yes"),
    ("sweep", "--dry-run", "--yes"),
    ("down", "spot", "--dry-run"),
    ("down", "leftovers", "--dry-run", "--force"),
)
# IAM asks for these on behalf of EC2 itself, or only where a call was refused.
UNSEEN = {"iam:CreateServiceLinkedRole", "sts:DecodeAuthorizationMessage"}
Need = dict[str, Any]


def analyze(policy: dict[str, Any]) -> Any:
    """What parliament finds in a policy."""
    if find_spec("pkg_resources") is None:
        # It asks setuptools, which no longer brings this, where two of its own files are.
        stand_in = ModuleType("pkg_resources")
        stand_in.resource_filename = lambda name, file: str(Path(sys.modules[name].__file__ or "").with_name(file))
        sys.modules["pkg_resources"] = stand_in
    from parliament import analyze_policy_string

    return analyze_policy_string(json.dumps(policy))


def statements() -> list[dict[str, Any]]:
    return make_policy()["Statement"]


def holds(condition: dict[str, dict[str, Any]], need: Need) -> bool:
    """Tell whether a condition holds, as IAM reads it: a key that the request lacks matches nothing."""
    facts = {"ec2:CreateAction": need["create_action"]}
    facts |= {f"aws:RequestTag/{key}": value for key, value in need["request_tags"].items()}
    facts |= {f"aws:ResourceTag/{key}": value for key, value in need["resource_tags"].items()}
    for operator, keys in condition.items():
        assert operator in ("StringLike", "StringEquals"), operator
        for key, wanted in keys.items():
            patterns = [wanted] if isinstance(wanted, str) else wanted
            match = fnmatchcase if operator == "StringLike" else str.__eq__
            if not any(match(facts.get(key, ""), pattern) for pattern in patterns):
                return False
    return True


def is_allowed(need: Need) -> bool:
    return any(
        need["action"] in one["Action"]
        and any(fnmatchcase(need["resource"], pattern) for pattern in as_list(one["Resource"]))
        and holds(one.get("Condition", {}), need)
        for one in statements()
    )


def as_list(words: str | list[str]) -> list[str]:
    return [words] if isinstance(words, str) else words


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Need]]:
    """What a whole life needed, on a cloud with things of others in it."""
    laptop = make_laptop(tmp_path_factory.mktemp("life"))
    try:
        assert laptop.type("local", "fault", "foreign=3").code == 0
        keep_alive(watch(laptop))
        control.clear_trail(watch(laptop).cloud)
        live(laptop, BEFORE_THE_MOVE)
        events = control.read_trail(watch(laptop).cloud)
        remember_an_old_address(watch(laptop))
        leave_things_behind(watch(laptop))
        control.clear_trail(watch(laptop).cloud)
        live(laptop, AFTER_THE_MOVE)
        events += control.read_trail(watch(laptop).cloud)
        yield unique(need for event in events for need in event["needs"])
    finally:
        laptop.give_back()


def live(laptop: Laptop, life: tuple[tuple[str, ...], ...]) -> None:
    for words in life:
        ended = laptop.type(*words)
        assert "Traceback" not in ended.said
        assert words[0] == "check" or ended.code == 0, (words, ended.said)


def remember_an_old_address(watching: Watch) -> None:
    """Leave the rule of an address that the laptop had before."""
    (group,) = watching.listing("groups", OURS)
    old = {"CidrIp": "203.0.113.9/32", "Description": RULE}
    rule = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [old]}
    watching.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])


def leave_things_behind(watching: Watch) -> None:
    """Leave a volume and an interface that bear our tag, as a launch that broke off might."""
    ec2, tags = watching.ec2, {CLUSTER_TAG: "leftovers"}
    subnet = ec2.describe_subnets()["Subnets"][0]
    ec2.create_volume(
        AvailabilityZone=subnet["AvailabilityZone"], Size=1, TagSpecifications=[tag_specification("volume", tags)]
    )
    made = [tag_specification("network-interface", tags)]
    ec2.create_network_interface(SubnetId=subnet["SubnetId"], TagSpecifications=made)


def unique(found: Iterator[Need]) -> list[Need]:
    return list({json.dumps(need, sort_keys=True): need for need in found}.values())


def test_every_call_of_a_whole_life_is_allowed(needs):
    assert [need for need in needs if not is_allowed(need)] == []


def test_nothing_is_allowed_that_no_call_needs(needs):
    allowed = {action for one in statements() for action in one["Action"]}
    assert allowed - {need["action"] for need in needs} - UNSEEN == set()


def test_without_our_tag_nothing_is_created_changed_or_deleted(needs):
    ours = {CLUSTER_TAG, IMAGE_TAG}
    tagged = [need for need in needs if ours & (need["request_tags"] | need["resource_tags"]).keys()]
    assert {need["action"] for need in tagged} > {
        "ec2:TerminateInstances",
        "ec2:DeleteSecurityGroup",
        "ec2:RunInstances",
        "ec2:CreateImage",
        "ec2:DeregisterImage",
        "ec2:DeleteSnapshot",
    }
    for need in tagged:
        bare = need | {"request_tags": {"Name": "web"}, "resource_tags": {"Name": "web"}, "create_action": ""}
        assert not is_allowed(bare), bare


def test_nothing_of_an_action_is_allowed_by_a_wildcard():
    assert not [action for one in statements() for action in one["Action"] if "*" in action]


def test_parliament_finds_no_fault():
    """A statement that allows an action on some of the kinds it touches is fine where others allow it on the rest."""
    findings = analyze(make_policy()).findings
    others = [finding for finding in findings if finding.issue != "RESOURCE_MISMATCH"]
    assert [(finding.issue, finding.detail) for finding in others] == []
    for finding in findings:
        for mismatch in finding.detail:
            resources = [
                r for one in statements() if mismatch["action"] in one["Action"] for r in as_list(one["Resource"])
            ]
            needed = mismatch["required_format"].replace("arn:*:", "arn:aws:")
            assert any(fnmatchcase(resource, needed) or resource == "*" for resource in resources), mismatch


def test_it_is_printed_as_iam_takes_it(laptop):
    printed = laptop.type("policy")
    assert printed.code == 0
    assert json.loads(printed.out) == make_policy()
    assert len(json.dumps(make_policy(), separators=(",", ":"))) < 6144  # the most that a managed policy may have
