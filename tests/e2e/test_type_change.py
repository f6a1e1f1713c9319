"""`start --instance-type`: the same disks under another machine, at a price that is shown first, or nothing changed at all."""

import json
import signal
from collections.abc import Iterator

import pytest

from infra.ec2.tags import GPU_TAG, HOURS_TAG, LEASE_TAG, PRICE_TAG, SPENT_AT_TAG, SPENT_TAG
from infra.local.cloud.server import control
from tests.cloudwatch import Watch, lasting_cloud, watch
from tests.conftest import Laptop

pytestmark = pytest.mark.timeout(400)

UP = ("up", "--dry-run", "--gpu", "T4", "--zone", "us-east-1f", "--nodes", "2", "--max-hours", "1")
TAGS = (GPU_TAG, HOURS_TAG, LEASE_TAG, PRICE_TAG, SPENT_AT_TAG, SPENT_TAG)
T4, A10G = "g4dn.xlarge", "g5.xlarge"


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with a cluster of two machines."""
    with lasting_cloud(tmp_path_factory.mktemp("types")) as laptop:
        up = laptop.type(*UP)
        assert up.code == 0, up.said
        assert laptop.type("ssh", "--", "sh", "-c", "echo data > kept").code == 0
        yield laptop


@pytest.fixture
def cloud(laptop: Laptop) -> Iterator[Watch]:
    """Its cloud, without faults, where the cluster is stopped and has its first type."""
    watching = watch(laptop)
    if {one["State"]["Name"] for one in watching.living()} == {"running"}:
        assert laptop.type("stop").code == 0
    ids = [one["InstanceId"] for one in watching.living()]
    for one in ids:
        watching.ec2.modify_instance_attribute(InstanceId=one, InstanceType={"Value": T4})
    watching.ec2.create_tags(
        Resources=ids, Tags=[{"Key": PRICE_TAG, "Value": "0.526000"}, {"Key": GPU_TAG, "Value": "T4"}]
    )
    yield watching
    control.clear_faults(watching.cloud)


def types_of(cloud: Watch) -> set[str]:
    return {one["InstanceType"] for one in cloud.living()}


def tags_of(cloud: Watch) -> list[dict[str, str]]:
    """What the machines' tags say of lease, price and what was spent."""
    return [{tag["Key"]: tag["Value"] for tag in one["Tags"] if tag["Key"] in TAGS} for one in cloud.living()]


def test_only_a_stopped_cluster_changes_its_type(laptop, cloud):
    assert laptop.type("start").code == 0
    before = tags_of(cloud)
    refused = laptop.type("start", "--instance-type", A10G)
    assert refused.code == 2, refused.said
    assert "gpujob stop project, then rerun" in refused.err
    assert (types_of(cloud), tags_of(cloud)) == ({T4}, before)


@pytest.mark.parametrize(
    ("instance_type", "faults", "said"),
    [
        ("g5.xlrge", (), "no instance type 'g5.xlrge'"),
        ("g5.*", (), "is not an instance type such as g5.xlarge"),
        ("g5g.xlarge", (), "is not x86_64"),
        ("g6e.xlarge", (), "us-east-1f, where the disk of 'project' is, does not offer g6e.xlarge; us-east-1a"),
        ("p4d.24xlarge", (), "it has 4 network cards"),
        ("g5.16xlarge", ("quota=64",), "2 x g5.16xlarge needs 128 vCPUs"),
        (A10G, ("denied=ec2:ModifyInstanceAttribute",), "ec2:ModifyInstanceAttribute"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason_and_nothing_has_changed(laptop, cloud, instance_type, faults, said):
    before = tags_of(cloud)
    control.add_faults(cloud.cloud, *faults)
    refused = laptop.type("start", "--instance-type", instance_type)
    assert refused.code in (1, 2), refused.said
    assert said in refused.err
    assert "next:" in refused.err
    assert (types_of(cloud), tags_of(cloud)) == ({T4}, before)


def test_without_capacity_the_type_is_changed_and_the_error_says_how_to_go_back(laptop, cloud):
    control.add_faults(cloud.cloud, f"no-capacity={A10G}")
    refused = laptop.type("start", "--instance-type", A10G)
    assert refused.code == 1, refused.said
    assert "rerun later: gpujob start project" in refused.err
    assert f"'project' is a {A10G} now" in refused.err
    assert f"gpujob start project --instance-type {T4}" in refused.err
    assert types_of(cloud) == {A10G}
    assert {(tags[PRICE_TAG], tags[GPU_TAG]) for tags in tags_of(cloud)} == {("1.006000", "A10G")}
    back = laptop.type("start", "project", "--instance-type", T4)
    assert back.code == 0, back.said
    assert types_of(cloud) == {T4}


@pytest.mark.parametrize("point", ["ModifyInstanceAttribute.1:before", "ModifyInstanceAttribute.2:after"])
def test_a_change_that_is_killed_costs_at_most_what_the_tags_say_and_the_same_command_finishes_it(laptop, cloud, point):
    process = laptop.prepare("start", "--instance-type", A10G)
    control.add_faults(cloud.cloud, f"kill={process.pid}:{point}")
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == -signal.SIGKILL
    control.clear_faults(cloud.cloud)
    prices = {T4: 0.526, A10G: 1.006}
    for machine, tags in zip(cloud.living(), tags_of(cloud), strict=True):
        assert float(tags[PRICE_TAG]) >= prices[machine["InstanceType"]]
    again = laptop.type("start", "--instance-type", A10G)
    assert again.code == 0, again.said
    assert types_of(cloud) == {A10G}
    assert {(tags[PRICE_TAG], tags[GPU_TAG]) for tags in tags_of(cloud)} == {("1.006000", "A10G")}


def test_the_disk_stays_past_hours_keep_their_price_and_new_ones_have_the_new_one(laptop, cloud):
    spent = float(tags_of(cloud)[0][SPENT_TAG])
    started = laptop.type("start", "--instance-type", A10G, "--max-hours", "2")
    assert started.code == 0, started.said
    for row in (
        "g5.xlarge: 1 x A10G (22 GiB), 4 vCPUs, 16 GiB; instead of g4dn.xlarge",
        "$1.01/h each instead of $0.53/h",
        "250 GB NVMe, empty; the cluster's disk is kept",
        "vCPUs left (on-demand G and VT)",
    ):
        assert row in started.err
    assert laptop.type("ssh", "--", "cat", "kept").out == "data\n"
    [cluster] = json.loads(laptop.type("ls", "--json").out)
    assert {node["instance_type"] for node in cluster["nodes"]} == {A10G}
    assert cluster["gpu"] == "A10G"
    assert {node["usd_per_hour"] for node in cluster["nodes"]} == {1.006}
    assert spent <= float(tags_of(cloud)[0][SPENT_TAG]) < spent + 0.001  # its disks, for seconds
    assert laptop.type("run", "--", "true").code == 0
