"""Nothing without our tag is ever changed or deleted, whatever it is and whatever it is called."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from infra.ec2.tags import tag_specification
from infra.local.cloud.server import control
from infra.ssh.keys import make_key
from tests.cloudwatch import FEW_REGIONS, Watch, lasting_cloud, watch
from tests.conftest import Finished, Laptop
from tests.local_cloud_fixtures import client, find_image

pytestmark = pytest.mark.timeout(400)

KINDS = ("instance", "volume", "network-interface", "security-group", "launch-template", "key-pair")
# Names and tags as near to ours as they may be: none is ours without the cluster's tag. Two things of each kind.
NEAR = (
    ("gpujob-mine", {}),
    ("gpujob-mine-on-demand", {"gpujob": "mine", "gpujob:owner": "mine", "Gpujob:cluster": "mine"}),
    ("gpujob-mine", {"Name": "gpujob-mine", "gpujob:clusters": "mine", "gpujob:launch": "2020-01-01T00:00:00Z"}),
    ("gpujob-other", {"gpujob:cluster-": "mine", "gpujob:owner": "*"}),
    ("gpujob", {"gpujob:owner": "gpujob-mine", "gpujob:lease-until": "2020-01-01T00:00:00Z"}),
)
FOREIGN = [(kind, *NEAR[number % len(NEAR)]) for number, kind in enumerate(KINDS * 2)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laptop, Watch]]:
    with lasting_cloud(tmp_path_factory.mktemp("ownership")) as laptop:
        control.add_faults(watch(laptop).cloud, *FEW_REGIONS)
        yield laptop, watch(laptop)


def make(watching: Watch, kind: str, name: str, tags: dict[str, str], number: int) -> None:
    """Make something of somebody else's; where a name is taken, under a name beside it."""
    ec2, subnet = watching.ec2, watching.ec2.describe_subnets()["Subnets"][0]
    words: dict[str, Any] = {"TagSpecifications": [tag_specification(kind, tags)] if tags else []}
    image = find_image(watching.cloud)
    if kind == "instance":
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, **words)["Instances"][
            0
        ]
        ec2.stop_instances(InstanceIds=[made["InstanceId"]])
    elif kind == "volume":
        ec2.create_volume(AvailabilityZone=subnet["AvailabilityZone"], Size=1, **words)
    elif kind == "network-interface":
        ec2.create_network_interface(SubnetId=subnet["SubnetId"], **words)
    elif kind == "security-group":
        ec2.create_security_group(GroupName=f"{name}-{number}", Description=name, **words)
    elif kind == "launch-template":
        ec2.create_launch_template(
            LaunchTemplateName=f"{name}-{number}", LaunchTemplateData={"ImageId": image}, **words
        )
    else:
        ec2.import_key_pair(KeyName=f"{name}-{number}", PublicKeyMaterial=make_key()[1].encode(), **words)


def test_a_machine_that_merely_bears_our_tags_survives_down_all_force(world):
    laptop, watching = world
    assert laptop.type("up", "mine", "--dry-run", "--yes").code == 0
    ours = watching.living()[0]
    image = find_image(watching.cloud)
    copied = [tag for tag in ours["Tags"] if not tag["Key"].startswith("aws:")]
    tags = [{"ResourceType": kind, "Tags": copied} for kind in ("instance", "volume")]
    words = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags}
    theirs = watching.ec2.run_instances(**words)["Instances"][0]["InstanceId"]
    down = laptop.type("down", "--all", "--dry-run", "--force")
    assert down.code == 1, down.said
    assert (
        f"{theirs} in us-east-1 has the tags of 'mine', but gpujob did not launch it; it was not terminated" in down.err
    )
    states = {
        one["InstanceId"]: one["State"]["Name"] for entry in watching.listing("instances") for one in entry["Instances"]
    }
    assert (states[ours["InstanceId"]], states[theirs]) == ("terminated", "running")
    watching.ec2.terminate_instances(InstanceIds=[theirs])
    assert watching.remains() == []


def test_what_others_have_is_the_same_after_a_whole_life_beside_it(world):
    laptop, watching = world
    for number, (kind, name, tags) in enumerate(FOREIGN):
        make(watching, kind, name, tags, number)
    before = watching.everything()
    for words in (
        ("up", "mine", "--dry-run", "--yes"),
        ("sweep", "--dry-run", "--everyone", "--yes"),
        ("down", "mine", "--dry-run"),
        ("down", "other", "--dry-run", "--force", "--if-exists"),
        ("down", "--all", "--dry-run", "--force"),
    ):
        done = laptop.type(*words)
        assert done.code == 0, (words, done.said)
    assert watching.remains() == []
    after = watching.everything()
    assert len(before) >= len(FOREIGN)
    assert {key: after.get(key) for key in before} == before


ROLE = "arn:aws:sts::123456789012:assumed-role"
PRINCIPALS = {
    "root": "arn:aws:iam::123456789012:root",
    "user": "arn:aws:iam::123456789012:user/ann",
    "role": f"{ROLE}/train/botocore-session-1700000000",  # another name at each login
    "vault": f"{ROLE}/vault/1700000000123456789",
    "person": f"{ROLE}/train/ann",
    "sso": f"{ROLE}/AWSReservedSSO_Train_0123456789abcdef/ann@example.com",
    "other-sso": f"{ROLE}/AWSReservedSSO_Train_0123456789abcdef/bob@example.com",
}


@pytest.fixture
def account(world) -> Iterator[tuple[Laptop, Watch]]:
    """A laptop and cloud that end with the caller that they began with."""
    yield world
    control.set_caller(world[1].cloud)


def log_in(watching: Watch, who: str) -> str:
    """Make one of these the caller; return the ARN of a login."""
    control.set_caller(watching.cloud, PRINCIPALS[who], f"AIDA{who}:session")
    return client(watching.cloud, "sts").get_caller_identity()["Arn"]


def test_each_principal_sweeps_its_own_after_another_login_and_nothing_of_another(account):
    """Two of them use one name: neither the name nor the cluster decides."""
    laptop, watching = account
    names = {who: "same" if "sso" in who else who for who in PRINCIPALS}
    for who, name in names.items():
        tags = {"gpujob:cluster": name, "gpujob:owner": log_in(watching, who)}
        subnet = watching.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        specification = [tag_specification("network-interface", tags)]
        watching.ec2.create_network_interface(SubnetId=subnet, TagSpecifications=specification)
    for left, who in reversed(list(enumerate(PRINCIPALS))):
        log_in(watching, who)
        swept = laptop.type("sweep", "--dry-run", "--yes", "--region", "us-east-1")
        assert swept.code == 0, (who, swept.said)
        assert "deleted orphaned resources of 1 cluster" in swept.err, (who, swept.said)
        assert len(watching.remains()) == left, who


def test_down_all_of_one_user_leaves_the_cluster_of_another_though_this_computer_knows_it(account):
    laptop, watching = account
    log_in(watching, "other-sso")
    assert laptop.type("up", "theirs", "--dry-run").code == 0
    log_in(watching, "role")
    assert laptop.type("up", "mine", "--dry-run").code == 0
    down = laptop.type("down", "--all", "--dry-run", "--yes")
    assert (down.code, "theirs was not terminated: it belongs to" in down.err) == (1, True), down.said
    assert "terminated mine" in down.err
    assert [len(watching.living()), "bob@example.com" in down.err] == [1, True]
    assert laptop.type("down", "theirs", "--dry-run").code == 0
    assert watching.remains() == []


def test_a_role_resumes_its_launch_and_its_image_after_another_login(account):
    laptop, watching = account
    log_in(watching, "role")
    process = laptop.prepare("up", "again", "--dry-run")
    control.add_faults(watching.cloud, f"kill={process.pid}:CreateFleet:after")
    process.send_signal(signal.SIGCONT)
    assert Finished.of(process).code == -signal.SIGKILL
    up = laptop.type("up", "again", "--dry-run")
    assert (up.code, "resuming an interrupted launch" in up.err) == (0, True), up.said
    bake = laptop.prepare("bake", "again", "--as", "torch")
    control.add_faults(watching.cloud, f"kill={bake.pid}:CreateImage.2:after")
    bake.send_signal(signal.SIGCONT)
    assert Finished.of(bake).code == -signal.SIGKILL
    baked = laptop.type("bake", "again", "--as", "torch")
    assert baked.code == 0, baked.said
    log_in(watching, "person")
    assert "only they can delete it" in laptop.type("images", "rm", "torch", "--dry-run", "--yes").err
    log_in(watching, "role")
    removed = laptop.type("images", "rm", "torch", "--dry-run", "--yes")
    assert removed.code == 0, removed.said
    assert laptop.type("down", "again", "--dry-run", "--force").code == 0
