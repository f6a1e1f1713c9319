"""What a test sees of the local cloud beside the command: its own questions to EC2, and what bears our tag."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.ec2.tags import CLUSTER_TAG
from infra.local import process
from infra.local.machine import userdata
from infra.local.process import LocalCloud
from tests.conftest import Laptop, make_laptop
from tests.local_cloud_fixtures import client, find_image

OURS = [{"Name": "tag-key", "Values": [CLUSTER_TAG]}]
LISTINGS = {
    "instances": ("describe_instances", "Reservations"),
    "volumes": ("describe_volumes", "Volumes"),
    "interfaces": ("describe_network_interfaces", "NetworkInterfaces"),
    "groups": ("describe_security_groups", "SecurityGroups"),
    "templates": ("describe_launch_templates", "LaunchTemplates"),
    "keys": ("describe_key_pairs", "KeyPairs"),
}


# A question to all regions costs a second of work here where the account has the usual seventeen.
FEW_REGIONS = tuple(f"enabled={region}" for region in ("us-east-1", "eu-west-1", "eu-west-2", "ap-south-1"))


@dataclass(frozen=True)
class Watch:
    """One region of a laptop's local cloud."""

    cloud: LocalCloud
    region: str = "us-east-1"

    @property
    def ec2(self) -> Any:
        """A client of EC2 that knows nothing of the command's own."""
        return client(self.cloud, "ec2", self.region)

    def listing(self, kind: str, filters: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """List everything of a kind, of anybody unless a filter says otherwise."""
        call, key = LISTINGS[kind]
        words = {"Filters": filters} if filters else {}
        client = self.ec2
        if not client.can_paginate(call):
            return list(getattr(client, call)(**words)[key])
        return [one for page in client.get_paginator(call).paginate(**words) for one in page[key]]

    def living(self) -> list[dict[str, Any]]:
        """List our instances that may cost money."""
        found = [one for entry in self.listing("instances", OURS) for one in entry["Instances"]]
        return [one for one in found if one["State"]["Name"] not in ("terminated", "shutting-down")]

    def remains(self) -> list[str]:
        """Name everything that bears our tag; a terminated instance is nothing."""
        others = [kind for kind in LISTINGS if kind != "instances"]
        found = [f"{kind}: {one}" for kind in others for one in self.listing(kind, OURS)]
        return [one["InstanceId"] for one in self.living()] + self.groups() + found

    def groups(self) -> list[str]:
        """Name the Auto Scaling groups that bear our tag."""
        scaling = client(self.cloud, "autoscaling", self.region)
        filters = [{"Name": "tag-key", "Values": [CLUSTER_TAG]}]
        found = scaling.describe_auto_scaling_groups(Filters=filters)["AutoScalingGroups"]
        return [one["AutoScalingGroupName"] for one in found]

    def lease_end_s(self, instance_id: str) -> float | None:
        """Return when the timer in an instance's user data powers it off."""
        ask = {"InstanceId": instance_id, "Attribute": "userData"}
        data = self.ec2.describe_instance_attribute(**ask)["UserData"].get("Value", "")
        return userdata.lease_end_s(base64.b64decode(data).decode())

    def everything(self) -> dict[str, Any]:
        """Return all that anybody has, by kind and id, as EC2 describes it."""
        ids = {"volumes": "VolumeId", "interfaces": "NetworkInterfaceId", "groups": "GroupId", "templates": "LaunchTemplateId",
               "keys": "KeyPairId"}  # fmt: skip
        found = {one["InstanceId"]: one for entry in self.listing("instances") for one in entry["Instances"]}
        for kind, key in ids.items():
            found |= {one[key]: one for one in self.listing(kind)}
        return found


def watch(laptop: Laptop, region: str = "us-east-1") -> Watch:
    """Return what watches a laptop's local cloud, which must run."""
    cloud = process.find(laptop.home / ".local/state/gpujob/local")
    assert cloud is not None, "the local cloud does not run"
    return Watch(cloud, region)


def has_machines(laptop: Laptop) -> bool:
    """Tell whether a machine of ours lives in a laptop's local cloud, without a command of its own for each look."""
    return bool(living_clusters(laptop))


def living_clusters(laptop: Laptop) -> set[str]:
    """Name the clusters with a machine in a laptop's local cloud, without a command of its own for each look."""
    cloud = process.find(laptop.home / ".local/state/gpujob/local")
    with suppress(BotoCoreError, ClientError):  # a cloud without machines ends, perhaps just now
        tags = [tag for one in (Watch(cloud).living() if cloud else ()) for tag in one["Tags"]]
        return {tag["Value"] for tag in tags if tag["Key"] == CLUSTER_TAG}
    return set()


def remains(laptop: Laptop) -> list[str]:
    """Name everything in a laptop's local cloud that bears our tag; nothing once that has ended."""
    cloud = process.find(laptop.home / ".local/state/gpujob/local")
    with suppress(BotoCoreError):
        return Watch(cloud).remains() if cloud else []
    return []


def node_home(laptop: Laptop) -> Path:
    """Return the home folder of the only machine in a laptop's local cloud."""
    [home] = laptop.home.glob(".local/state/gpujob/local/hosts/*/home")
    return home


@contextmanager
def lasting_cloud(folder: Path, **settings: str) -> Iterator[Laptop]:
    """Yield a laptop whose local cloud has begun and does not end with the laptop's last machine."""
    laptop = make_laptop(folder, **settings)
    try:
        laptop.type("check", "--dry-run")
        keep_alive(watch(laptop))
        yield laptop
    finally:
        laptop.give_back()


def keep_alive(watch: Watch) -> None:
    """Put one instance of somebody else into the cloud, stopped, so that it does not end with our last."""
    image = find_image(watch.cloud, watch.region)
    made = watch.ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    watch.ec2.stop_instances(InstanceIds=[made["InstanceId"]])
