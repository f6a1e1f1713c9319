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
from botocore.exceptions import ClientError

from infra.ec2.network.groups import RULE
from infra.ec2.policy import make_policy
from infra.ec2.tags import CLUSTER_TAG, IMAGE_TAG, OWNER_ID_TAG, OWNER_TAG, tag_specification
from infra.local.cloud.iam import permissions, policies
from infra.local.cloud.iam.policies import as_list
from infra.local.cloud.server import control
from tests.cloudwatch import FEW_REGIONS, OURS, Watch, keep_alive, watch
from tests.conftest import Laptop, make_laptop

pytestmark = pytest.mark.timeout(400)

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
    ("start", "--instance-type", "g4dn.2xlarge", "--yes"),
    ("cost",),
    ("down",),
    ("up", "spot", "--dry-run", "--spot", "--yes"),
    ("sweep", "--dry-run", "--yes"),
    ("down", "spot", "--dry-run"),
    ("down", "leftovers", "--dry-run", "--force"),
)
# IAM asks for these on behalf of EC2 itself, or only where a call was refused.
UNSEEN = {
    "ec2:DescribeCapacityReservations",  # of --reservation: tests/e2e/test_reservations.py
    "ec2:GetSpotPlacementScores",  # of several regions: tests/e2e/test_spot_costs.py
    "ec2:DescribeVpcs",  # of a private machine: tests/e2e/test_networks.py
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "sts:DecodeAuthorizationMessage",
}
Need = dict[str, Any]


def analyze(policy: dict[str, Any]) -> Any:
    """What parliament finds in a policy."""
    if "pkg_resources" not in sys.modules and find_spec("pkg_resources") is None:
        # It asks setuptools, which no longer brings this, where two of its own files are.
        stand_in = ModuleType("pkg_resources")
        stand_in.resource_filename = lambda name, file: str(Path(sys.modules[name].__file__ or "").with_name(file))
        sys.modules["pkg_resources"] = stand_in
    from parliament import analyze_policy_string

    return analyze_policy_string(json.dumps(policy))


POLICIES = {"anybody's": make_policy(), "one's own": make_policy(owner_only=True)}
ANN = {"arn": "arn:aws:iam::123456789012:user/ann", "user_id": "AIDAANN"}
BOB = {"arn": "arn:aws:iam::123456789012:user/bob", "user_id": "AIDABOB"}


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of the policies."""
    return POLICIES[request.param]


def is_allowed(policy: dict[str, Any], need: Need) -> bool:
    """Tell whether a policy allows Ann what a call needed."""
    ann = {"aws:userid": ANN["user_id"], "aws:PrincipalAccount": "123456789012"}
    return policies.is_allowed(policy, permissions.Need(**need), ann)


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Need]]:
    """What a whole life needed, on a cloud with things of others in it that allows what the stricter policy does."""
    laptop = make_laptop(tmp_path_factory.mktemp("life"))
    try:
        assert laptop.type("local", "fault", "foreign=3", *FEW_REGIONS).code == 0
        keep_alive(watch(laptop))
        cloud = watch(laptop).cloud
        control.clear_trail(cloud)
        control.set_caller(cloud, **ANN, policy=POLICIES["one's own"])
        live(laptop, BEFORE_THE_MOVE)
        events = control.read_trail(cloud)
        control.set_caller(cloud, **ANN)
        remember_an_old_address(watch(laptop))
        leave_things_behind(watch(laptop))
        control.clear_trail(cloud)
        control.set_caller(cloud, **ANN, policy=POLICIES["one's own"])
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
    ec2, tags = watching.ec2, {CLUSTER_TAG: "leftovers", OWNER_ID_TAG: ANN["user_id"]}
    subnet = ec2.describe_subnets()["Subnets"][0]
    ec2.create_volume(
        AvailabilityZone=subnet["AvailabilityZone"], Size=1, TagSpecifications=[tag_specification("volume", tags)]
    )
    made = [tag_specification("network-interface", tags)]
    ec2.create_network_interface(SubnetId=subnet["SubnetId"], TagSpecifications=made)


def unique(found: Iterator[Need]) -> list[Need]:
    return list({json.dumps(need, sort_keys=True): need for need in found}.values())


def test_every_call_of_a_whole_life_is_allowed(needs, policy):
    refused = [need for need in needs if not is_allowed(policy, need)]
    # `check` tries a launch before there is a group that the policy allows, and knows what a refusal of this one means.
    assert {need["resource"].rpartition(":")[2] for need in refused} <= {"security-group/default"}


def test_nothing_is_allowed_that_no_call_needs(needs, policy):
    allowed = {action for one in policy["Statement"] for action in one["Action"]}
    assert allowed - {need["action"] for need in needs} - UNSEEN == set()


def tagged_ones(needs: list[Need]) -> list[Need]:
    ours = {CLUSTER_TAG, IMAGE_TAG}
    found = [need for need in needs if ours & (need["request_tags"] | need["resource_tags"]).keys()]
    assert {need["action"] for need in found} > {
        "ec2:TerminateInstances",
        "ec2:DeleteSecurityGroup",
        "ec2:RunInstances",
        "ec2:CreateImage",
        "ec2:DeregisterImage",
        "ec2:DeleteSnapshot",
    }
    return found


def test_without_our_tag_nothing_is_created_changed_or_deleted(needs, policy):
    for need in tagged_ones(needs):
        bare = need | {"request_tags": {"Name": "web"}, "resource_tags": {"Name": "web"}, "create_action": ""}
        assert not is_allowed(policy, bare), bare


@pytest.mark.parametrize("owner", [{OWNER_ID_TAG: BOB["user_id"]}, {OWNER_TAG: ANN["arn"]}, {OWNER_ID_TAG: ""}])
def test_what_is_another_s_can_be_neither_made_changed_nor_deleted_under_the_stricter_policy(needs, owner):
    for need in tagged_ones(needs):
        others = dict(need)
        for kind in ("request_tags", "resource_tags"):
            kept = {key: value for key, value in need[kind].items() if key != OWNER_ID_TAG}
            others[kind] = kept | owner if need[kind] else {}
        assert is_allowed(POLICIES["anybody's"], others), others
        assert not is_allowed(POLICIES["one's own"], others), others


def test_under_the_stricter_policy_only_images_of_known_owners_boot(needs):
    launches = [need for need in needs if need["action"] == "ec2:RunInstances" and "image/" in need["resource"]]
    assert {need["owner"] for need in launches} == {"amazon"}
    for owner, allowed in (("123456789012", True), ("099720109477", True), ("666666666666", False), ("", False)):
        assert is_allowed(POLICIES["one's own"], launches[0] | {"owner": owner}) is allowed
        assert is_allowed(POLICIES["anybody's"], launches[0] | {"owner": owner})


def test_check_rejects_nothing_that_the_policy_grants_and_says_what_it_could_not_test(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    cloud = watch(laptop).cloud

    def permission() -> tuple[bool, str]:
        rows = json.loads(laptop.type("check", "--dry-run", "--json").out)
        return next((row["ok"], row["detail"]) for row in rows if row["what"] == "permissions")

    control.set_caller(cloud, **ANN, policy=POLICIES["one's own"])
    ok, detail = permission()
    assert (ok, "not tested: ec2:RunInstances" in detail, "ec2:TerminateInstances" in detail) == (True, True, True), (
        detail
    )
    control.set_caller(cloud, **ANN)
    assert "RunInstances" not in permission()[1]
    kept = [each for each in POLICIES["one's own"]["Statement"] if "Launch" not in each["Sid"]]
    control.set_caller(cloud, **ANN, policy={**POLICIES["one's own"], "Statement": kept})
    ok, detail = permission()
    assert (ok, "not allowed: " in detail, "ec2:RunInstances" in detail) == (False, True, True), detail


def test_a_second_user_cannot_end_or_take_over_the_first_one_s_machine(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    cloud, ec2 = watch(laptop).cloud, watch(laptop).ec2
    strict = POLICIES["one's own"]
    control.set_caller(cloud, **ANN, policy=strict)
    up = laptop.type("up", "--dry-run")
    assert up.code == 0, up.said
    [machine] = watch(laptop).living()
    ids = [machine["InstanceId"]]

    control.set_caller(cloud, **BOB, policy=strict)
    down = laptop.type("down", "--force")
    assert (down.code, "ec2:TerminateInstances" in down.err) == (1, True), down.said
    mine = [{"Key": OWNER_ID_TAG, "Value": BOB["user_id"]}]
    for attempt in (
        lambda: ec2.terminate_instances(InstanceIds=ids),
        lambda: ec2.stop_instances(InstanceIds=ids),
        lambda: ec2.create_tags(Resources=ids, Tags=mine),
        lambda: ec2.create_image(InstanceId=ids[0], Name="stolen"),
        lambda: ec2.delete_key_pair(KeyName="gpujob-project"),
        lambda: ec2.get_console_output(InstanceId=ids[0]),
    ):
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            attempt()
    assert [one["InstanceId"] for one in watch(laptop).living()] == ids

    control.set_caller(cloud, **ANN, policy=strict)
    assert laptop.type("down").code == 0
    assert watch(laptop).living() == []


def test_nothing_of_an_action_is_allowed_by_a_wildcard(policy):
    assert not [action for one in policy["Statement"] for action in one["Action"] if "*" in action]


def test_parliament_finds_no_fault(policy):
    """A statement that allows an action on some of the kinds it touches is fine where others allow it on the rest."""
    findings = analyze(policy).findings
    others = [finding for finding in findings if finding.issue != "RESOURCE_MISMATCH"]
    assert [(finding.issue, finding.detail) for finding in others] == []
    for finding in findings:
        for mismatch in finding.detail:
            resources = [
                r
                for one in policy["Statement"]
                if mismatch["action"] in one["Action"]
                for r in as_list(one["Resource"])
            ]
            needed = mismatch["required_format"].replace("arn:*:", "arn:aws:")
            assert any(fnmatchcase(resource, needed) or resource == "*" for resource in resources), mismatch


@pytest.mark.parametrize(
    ("words", "owner_only", "said"),
    [((), False, "by any user"), (("--owner-only",), True, "only resources with their own")],
)
def test_it_is_printed_as_iam_takes_it_and_what_it_allows_is_said_beside_it(laptop, words, owner_only, said):
    printed = laptop.type("policy", *words)
    assert printed.code == 0
    assert json.loads(printed.out) == make_policy(owner_only=owner_only)
    assert said in printed.err
    assert (
        len(json.dumps(json.loads(printed.out), separators=(",", ":"))) < 6144
    )  # the most that a managed policy may have
