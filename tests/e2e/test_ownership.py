"""Nothing without our tag is ever changed or deleted, whatever it is and whatever it is called."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.ec2.machines.network import tag_specification
from infra.local.cloud.server import control
from infra.ssh.keys import make_key
from tests.cloudwatch import FEW_REGIONS, Watch, keep_alive, watch
from tests.conftest import Laptop, make_laptop
from tests.local_cloud_fixtures import find_image

pytestmark = pytest.mark.timeout(180)

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
    laptop = make_laptop(tmp_path_factory.mktemp("ownership"))
    try:
        laptop.type("check", "--dry-run")
        keep_alive(watch(laptop))
        control.add_faults(watch(laptop).cloud, *FEW_REGIONS)
        yield laptop, watch(laptop)
    finally:
        laptop.give_back()


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
