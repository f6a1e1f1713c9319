"""`gpujob check` of what a project names for `up`, and what it says of that which it may not ask."""

import json
from collections.abc import Iterator

import pytest

from infra.local.cloud.server import control
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
