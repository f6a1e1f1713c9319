"""Baked images: created from a node's disk, found by their tags, deleted with their snapshots."""

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
# It no longer exists.
GONE = ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound")


@dataclass(frozen=True)
class Baked:
    """A baked image, or the snapshots left of one."""

    name: str
    image_id: str
    """"" if only snapshots are left."""
    state: str
    """As EC2 names it: pending, available, failed; "removed" if only snapshots are left."""
    cloud: CloudName
    region: str
    owner: str
    cluster: str
    instance_id: str
    """Of the node it was created from."""
    instance_type: str
    base: str
    """The image that the node booted."""
    snapshots: tuple[str, ...]
    size_gb: float
    """The billed size of its snapshots, at most."""
    percent: int
    """Its progress."""
    made_at: str

    @property
    def month_usd(self) -> float:
        """Its cost per month, at most."""
        return self.size_gb * SNAPSHOT_GB_MONTH_USD


def by_image(name: str) -> "list[FilterTypeDef]":
    """Return the filter for the resources of one baked image, or with "*" of all."""
    return [{"Name": f"tag:{IMAGE_TAG}", "Values": [name]}]


def list_baked(account: Account, name: str = "*") -> list[Baked]:
    """Return all baked images in a region, including those of which only snapshots are left."""
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
    """Yield the snapshots of baked images."""
    for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=by_image(name)):
        yield from page["Snapshots"]


def is_named(resource: Any) -> bool:
    """Return whether a resource has the tags and the name that `bake` gives."""
    return bool(read_name(read_tags(resource), IMAGE_TAG))


def key_of(resource: Any) -> tuple[str, str]:
    """Return what an image shares with its snapshots: name and owner."""
    tags = read_tags(resource)
    return read_name(tags, IMAGE_TAG), read_owner(tags)


def make_baked(account: Account, resource: Any, snapshots: list[Any]) -> Baked:
    """Return the image from EC2's description of it, or of its first snapshot."""
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
    """Return a snapshot's billed size: that of its data if EC2 reports it, or of its volume."""
    full = snapshot.get("FullSnapshotSizeInBytes")
    return full / 2**30 if full else float(snapshot["VolumeSize"])


def create(account: Account, name: str, node: Node, tags: Mapping[str, str], *, dry_run: bool = False) -> None:
    """Create an image of a node's disk, for which EC2 reboots it; the same call tags image and snapshots.

    With `dry_run`, only check the permission. Raises UsageError if the account has an image of that name.
    """
    with aws_errors():
        try:
            account.ec2.create_image(
                InstanceId=node.instance_id,
                Name=resource_name(name),
                Description=f"created by gpujob bake from {tags[FROM_TAG]}",
                TagSpecifications=[tag_specification(kind, tags) for kind in ("image", "snapshot")],
                DryRun=dry_run,
            )
        except ClientError as error:
            if code_of(error) == "InvalidAMIName.Duplicate":
                raise taken(account, name) from error
            if not (dry_run and code_of(error) == "DryRunOperation"):
                raise


def taken(account: Account, name: str) -> UsageError:
    """Return the error for a name that is already in use."""
    return UsageError(
        f"image '{name}' already exists in {account.region}",
        f"choose another name, or delete it: gpujob images rm {name}",
    )


def make_tags(name: str, owner: Identity, cluster: str, node: Node) -> dict[str, str]:
    """Return the tags that describe an image."""
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
    """Delete an image, then its snapshots, the only order that works; any of them may be missing."""
    ec2 = account.ec2
    if image.image_id:
        ignore_missing(partial(ec2.deregister_image, ImageId=image.image_id))
    for snapshot in image.snapshots:
        ignore_missing(partial(ec2.delete_snapshot, SnapshotId=snapshot))


def ignore_missing(call: Callable[[], object]) -> None:
    """Delete something that may no longer exist."""
    with aws_errors():
        try:
            call()
        except ClientError as error:
            if code_of(error) not in GONE:
                raise
