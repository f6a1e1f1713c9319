"""`gpujob check` of what a project names for `up`, and what it says of that which it may not ask."""

import json
from collections.abc import Iterator, Sequence

import pytest

from infra.ec2.account import open_local
from infra.ec2.policy import make_policy
from infra.ec2.scaling.policy import make_machine_statements
from infra.ec2.storage.policies import MACHINE_GRANTS, make_machine_policy, make_user_policy
from infra.ec2.storage.roles import check_role
from infra.errors import GpujobError
from infra.local.cloud.server import control
from infra.names import MACHINES
from tests.cloudwatch import lasting_cloud, watch
from tests.conftest import Laptop
from tests.local_cloud_fixtures import client

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with lasting_cloud(tmp_path_factory.mktemp("check")) as made:
        yield made


def check(laptop: Laptop, **settings: object) -> dict[str, dict[str, object]]:
    """Return the checks by name, of a project whose [up] has these settings."""
    file = laptop.project / "gpujob.toml"
    file.write_text(
        "[up]\n" + "".join(f"{name.replace('_', '-')} = {json.dumps(value)}\n" for name, value in settings.items())
    )
    try:
        return {one["what"]: one for one in json.loads(laptop.type("check", "--dry-run", "--json").out)}
    finally:
        file.unlink()


def test_what_the_project_names_is_looked_up_and_what_does_not_exist_is_said(laptop):
    seen = watch(laptop)
    iam, kms = client(seen.cloud, "iam"), client(seen.cloud, "kms")
    iam.create_instance_profile(InstanceProfileName="empty")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    reserved = seen.ec2.create_capacity_reservation(
        InstanceType="g4dn.xlarge", InstancePlatform="Linux/UNIX", AvailabilityZone="us-east-1b", InstanceCount=1
    )["CapacityReservation"]["CapacityReservationId"]
    subnet = seen.ec2.describe_subnets()["Subnets"][0]

    good = check(laptop, subnet=[subnet["SubnetId"]], kms_key=key, reservation=reserved)
    assert all(one["ok"] for one in good.values()), good
    assert subnet["SubnetId"] in str(good["region and network"]["detail"])
    assert good["KMS key"]["detail"] == f"{key}, enabled"
    assert "1 of 1 free" in str(good["capacity reservation"]["detail"])

    kms.disable_key(KeyId=key)
    bad = check(
        laptop,
        subnet=["subnet-0123456789abcdef0"],
        kms_key=key,
        instance_profile="empty",
        reservation="cr-0123456789abcdef0",
    )
    wrong = {what: str(one["detail"]) for what, one in bad.items() if not one["ok"]}
    assert set(wrong) == {"region and network", "instance profile", "KMS key", "capacity reservation"}
    assert "subnet-0123456789abcdef0 not found" in wrong["region and network"]
    assert wrong["instance profile"] == "empty has no role"
    assert wrong["KMS key"] == f"{key} is Disabled"
    assert all(bad[what]["fix"] for what in wrong)
    missing = check(laptop, instance_profile="gone")["instance profile"]
    assert not missing["ok"], missing


def test_what_may_not_be_asked_is_not_tested_and_fails_nothing(laptop):
    control.add_faults(watch(laptop).cloud, "denied=iam:GetInstanceProfile", "denied=kms:DescribeKey")
    try:
        found = check(laptop, instance_profile="gpujob-role", kms_key="alias/disks")
    finally:
        control.clear_faults(watch(laptop).cloud)
    assert str(found["instance profile"]["detail"]).startswith("not tested: ")
    assert "iam:GetInstanceProfile" in str(found["instance profile"]["detail"])
    assert "kms:DescribeKey" in str(found["KMS key"]["detail"])
    assert found["instance profile"]["ok"]
    assert found["KMS key"]["ok"]


UP = ("up", "--dry-run", "--bucket", "auto", "two")
SEND = ("send", "--dry-run", "--name", "three", "train.py")


def set_policy(laptop: Laptop, statements: Sequence[object]) -> None:
    """Replace what the role of machines may do."""
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    client(watch(laptop).cloud, "iam").put_role_policy(RoleName=MACHINES, PolicyName="gpujob", PolicyDocument=policy)


def test_nothing_is_created_for_machines_that_could_not_upload(laptop):
    laptop.write("train.py", "print(1)")
    seen = watch(laptop)
    iam, s3 = client(seen.cloud, "iam"), client(seen.cloud, "s3")
    iam.create_instance_profile(InstanceProfileName="unused")
    whole = make_machine_policy()["Statement"]
    for words in (UP, SEND):
        missing = laptop.type(*words[:-1], "--instance-profile", "absent", words[-1])
        assert (missing.code, "there is no instance profile absent, which" in missing.err) == (1, True), missing.said
        bare = laptop.type(*words[:-1], "--instance-profile", "unused", words[-1])
        assert (bare.code, "the instance profile unused has no role to upload" in bare.err) == (1, True), bare.said
        set_policy(laptop, whole[1:])
        refused = laptop.type(*words)
        assert (refused.code, f"the role of {MACHINES} does not allow s3:ListBucket on gpujob-" in refused.err) == (
            1,
            True,
        )
        set_policy(laptop, whole)
        control.add_faults(seen.cloud, "denied=s3:ListBucket")
        foreign = laptop.type(*words)
        control.clear_faults(seen.cloud)
        assert (foreign.code, "is another account's, or the credentials do not allow" in foreign.err) == (1, True)
        for ended in (missing, bare, refused):
            assert "\n  next: gpujob policy --machines\n" in ended.err
        elsewhere = laptop.type(*words[:-1], "--bucket", "nowhere-at-all", words[-1])
        assert (elsewhere.code, "no bucket nowhere-at-all" in elsewhere.err) == (1, True), elsewhere.said
    assert (seen.remains(), s3.list_buckets()["Buckets"]) == ([], [])
    listed = laptop.type("bucket", "ls", "auto", "--dry-run")
    assert (listed.code, "  next: gpujob up --bucket auto, which makes it" in listed.err) == (1, True), listed.said


def test_check_says_what_the_role_of_machines_must_also_be_allowed(laptop):
    whole = make_machine_policy()["Statement"]
    cloud = watch(laptop).cloud
    account = open_local(cloud.url, cloud.access_key)
    for grant in MACHINE_GRANTS:
        for action in grant.actions:
            kept = [each for each in whole if each["Sid"] != grant.sid]
            less = [one for one in grant.actions if one != action]
            part = next(each for each in whole if each["Sid"] == grant.sid)
            set_policy(laptop, [*kept, {**part, "Action": less}] if less else kept)
            if grant.sid == "UploadJobs" and action == "s3:GetObject":
                continue  # ReadSentJobs allows it everywhere
            with pytest.raises(
                GpujobError, match=f"does not allow {action} on gpujob-b{grant.part}".replace("*", r"\*")
            ):
                check_role(account, MACHINES, "gpujob-b", sent=True)
            if grant.sent:
                check_role(account, MACHINES, "gpujob-b")
    _, emptying, _ = make_machine_statements()
    untagged = {**emptying, "Condition": {"StringLike": {"aws:ResourceTag/other": "?*"}}}
    set_policy(laptop, [*(each for each in whole if each["Sid"] != emptying["Sid"]), untagged])
    found = check(laptop, bucket="auto")["bucket"]
    assert found["ok"], found
    assert "not enough for gpujob send: " in str(found["detail"])
    assert "autoscaling:UpdateAutoScalingGroup on its own group" in str(found["detail"])
    denial = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}
    set_policy(laptop, [*whole, denial])
    found = check(laptop, bucket="auto")["bucket"]
    assert not found["ok"]
    assert (str(found["fix"]), "s3:PutObject on " in str(found["detail"])) == ("gpujob policy --machines", True), found
    set_policy(laptop, whole)


def test_who_has_the_printed_permissions_can_ask_what_machines_may_do(laptop):
    plain, buckets = make_policy(owner_only=True), make_user_policy()
    allowed = {**plain, "Statement": [*plain["Statement"], *buckets["Statement"]]}
    control.set_caller(watch(laptop).cloud, arn="arn:aws:iam::123456789012:user/ann", user_id="AIDAANN", policy=allowed)
    try:
        found = check(laptop, bucket="auto")["bucket"]
    finally:
        control.set_caller(watch(laptop).cloud)
    assert str(found["detail"]).endswith(f"writable by the role of {MACHINES}"), found
