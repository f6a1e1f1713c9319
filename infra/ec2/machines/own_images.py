"""Images of our own: the disk of a node as it was, found by its tags, taken away with its snapshots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.base.parallel import call_parallel
from infra.ec2.account import Account, Identity
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.network import tag_specification
from infra.ec2.tags import (
    FROM_IMAGE_TAG,
    FROM_INSTANCE_TAG,
    FROM_TAG,
    FROM_TYPE_TAG,
    IMAGE_TAG,
    read_name,
    read_owner,
    read_tags,
    resource_name,
)
from infra.errors import UsageError
from infra.model import CloudName, Node

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef

# https://aws.amazon.com/ebs/pricing/ (snapshots, standard tier, most regions)
SNAPSHOT_GB_MONTH_USD = 0.05
# What there is none of any more.
GONE = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound")


@dataclass(frozen=True)
class Baked:
    """An image of ours, or what is left of one: its snapshots."""

    name: str
    image_id: str
    """"" where only snapshots are left."""
    state: str
    """EC2's own word: pending, available, failed; "removed" where only snapshots are left."""
    cloud: CloudName
    region: str
    owner: str
    cluster: str
    instance_id: str
    """Of the node that it was made of."""
    instance_type: str
    base: str
    """The image that this node had booted."""
    snapshots: tuple[str, ...]
    size_gb: float
    """What of its snapshots is billed, at most."""
    percent: int
    """How much of it is made."""
    made_at: str

    @property
    def month_usd(self) -> float:
        """What it costs a month, at most."""
        return self.size_gb * SNAPSHOT_GB_MONTH_USD


def by_image(name: str) -> "list[FilterTypeDef]":
    """Return the filter that finds what belongs to an image of ours, or with "*" to any."""
    return [{"Name": f"tag:{IMAGE_TAG}", "Values": [name]}]


def list_baked(account: Account, name: str = "*") -> list[Baked]:
    """Return the images of ours in a region, whoever made them, with those of which only snapshots are left."""
    ec2: Any = account.ec2
    with aws_errors():
        images, snapshots = call_parallel(
            lambda: ec2.describe_images(Owners=["self"], Filters=by_image(name))["Images"],
            lambda: list(list_snapshots(ec2, name)),
        )
    groups: dict[tuple[str, str], list[Any]] = {}
    for snapshot in filter(is_named, snapshots):
        groups.setdefault(key_of(snapshot), []).append(snapshot)
    found = [make_baked(account, image, groups.pop(key_of(image), [])) for image in images if is_named(image)]
    found += [make_baked(account, {**group[0], "State": "removed"}, group) for group in groups.values()]
    return sorted(found, key=lambda one: (one.name, one.made_at))


def list_snapshots(ec2: Any, name: str) -> Any:
    """Yield the snapshots of images of ours, page after page."""
    for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=by_image(name)):
        yield from page["Snapshots"]


def is_named(resource: Any) -> bool:
    """Tell whether a resource's tags name an image as `bake` does; anything else is not ours."""
    return bool(read_name(read_tags(resource), IMAGE_TAG))


def key_of(resource: Any) -> tuple[str, str]:
    """Return what an image and its snapshots have in common: name and owner."""
    tags = read_tags(resource)
    return read_name(tags, IMAGE_TAG), read_owner(tags)


def make_baked(account: Account, resource: Any, snapshots: list[Any]) -> Baked:
    """Return the image that EC2's description of it, or of its first snapshot, tells of."""
    tags = read_tags(resource)
    percents = [int(str(one.get("Progress", "")).rstrip("%") or 0) for one in snapshots]
    return Baked(
        name=read_name(tags, IMAGE_TAG),
        image_id=resource.get("ImageId", ""),
        state=resource["State"],
        cloud=account.cloud,
        region=account.region,
        owner=read_owner(tags),
        cluster=tags.get(FROM_TAG, ""),
        instance_id=tags.get(FROM_INSTANCE_TAG, ""),
        instance_type=tags.get(FROM_TYPE_TAG, ""),
        base=tags.get(FROM_IMAGE_TAG, ""),
        snapshots=tuple(one["SnapshotId"] for one in snapshots),
        size_gb=sum(billed_gb(one) for one in snapshots),
        percent=min(percents, default=0),
        made_at=str(resource.get("CreationDate") or resource.get("StartTime", "")),
    )


def billed_gb(snapshot: Mapping[str, Any]) -> float:
    """Return what of a snapshot is billed: what it holds where EC2 tells that, else all of its volume."""
    full = snapshot.get("FullSnapshotSizeInBytes")
    return full / 2**30 if full else float(snapshot["VolumeSize"])


def create(account: Account, name: str, node: Node, tags: Mapping[str, str], *, rehearse: bool = False) -> None:
    """Make an image of a node's disk, for which EC2 reboots it; image and snapshots are tagged by the same call.

    With `rehearse` EC2 only tells whether the caller may. Raises UsageError if the account has an image of that name.
    """
    with aws_errors():
        try:
            account.ec2.create_image(
                InstanceId=node.instance_id,
                Name=resource_name(name),
                Description=f"made by gpujob bake of {tags[FROM_TAG]}",
                TagSpecifications=[tag_specification(kind, tags) for kind in ("image", "snapshot")],
                DryRun=rehearse,
            )
        except ClientError as error:
            if code_of(error) == "InvalidAMIName.Duplicate":
                raise taken(account, name) from error
            if not (rehearse and code_of(error) == "DryRunOperation"):
                raise


def taken(account: Account, name: str) -> UsageError:
    """Return the error for a name that an image has."""
    return UsageError(
        f"there is an image '{name}' already, in {account.region}", f"gpujob images rm {name}, or another name"
    )


def make_tags(name: str, owner: Identity, cluster: str, node: Node) -> dict[str, str]:
    """Return the tags that tell all there is to know of an image."""
    return {
        "Name": resource_name(name),
        IMAGE_TAG: name,
        **owner.tags,
        FROM_TAG: cluster,
        FROM_INSTANCE_TAG: node.instance_id,
        FROM_TYPE_TAG: node.instance_type,
        FROM_IMAGE_TAG: node.image_id,
    }


def remove(account: Account, image: Baked) -> None:
    """Take an image away with its snapshots; any part may be gone already. The order is the only one that works."""
    ec2 = account.ec2
    if image.image_id:
        forgive(partial(ec2.deregister_image, ImageId=image.image_id))
    for snapshot in image.snapshots:
        forgive(partial(ec2.delete_snapshot, SnapshotId=snapshot))


def forgive(call: Callable[[], object]) -> None:
    """Do something that may be done already."""
    with aws_errors():
        try:
            call()
        except ClientError as error:
            if code_of(error) not in GONE:
                raise
