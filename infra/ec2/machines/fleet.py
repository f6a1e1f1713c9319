"""The launch template of a cluster's nodes, and the tags of everything that a launch creates."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from infra.ec2.account import Account, Identity
from infra.ec2.errors import aws_errors, code_of
from infra.ec2.machines.images import Image
from infra.ec2.machines.lease import disk_hour_usd
from infra.ec2.machines.network import tag_specification
from infra.ec2.machines.userdata import make_user_data
from infra.ec2.tags import (
    CLUSTER_TAG,
    DISK_PRICE_TAG,
    GPU_TAG,
    IDLE_TAG,
    LAUNCH_TAG,
    LEASE_TAG,
    PRICE_TAG,
    format_time,
    read_tags,
    resource_name,
)
from infra.errors import UsageError
from infra.model import LaunchRequest, Lease, Market, Offer, format_gpu

# What a repeated `up` gets for a template that it created before it was interrupted; images and prices may have changed since.
CREATED = ("InvalidLaunchTemplateName.AlreadyExistsException", "IdempotentParameterMismatch")


def make_tags(
    name: str, offers: Sequence[Offer], request: LaunchRequest, lease: Lease, gib_month_usd: float, owner: Identity
) -> dict[str, str]:
    """Return the tags that describe a cluster, with the highest price until the actual one is known."""
    return {
        "Name": resource_name(name),
        CLUSTER_TAG: name,
        **owner.tags,
        LEASE_TAG: format_time(lease.until),
        PRICE_TAG: f"{max(offer.most_usd for offer in offers):.6f}",
        DISK_PRICE_TAG: f"{disk_hour_usd(request.disk_gib, gib_month_usd):.6f}",
        GPU_TAG: format_gpu(offers[0].gpu),
        IDLE_TAG: f"{lease.idle_stop_s:g}",
    }


def make_template(
    image: Image, lease: Lease, disk_gib: int, group: str, tags: Mapping[str, str], market: Market
) -> dict[str, Any]:
    """Return the launch template of a node: an instance that terminates itself and leaves nothing behind."""
    disk = {"VolumeSize": disk_gib, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    kinds = ["instance", "volume", "network-interface", *(["spot-instances-request"] if market == "spot" else [])]
    return {
        "ImageId": image.image_id,
        "KeyName": resource_name(tags[CLUSTER_TAG]),
        "UserData": base64.b64encode(make_user_data(lease).encode()).decode(),
        "InstanceInitiatedShutdownBehavior": "terminate",
        # One hop: a container on the machine cannot read the machine's credentials.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": disk}],
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": True, "DeleteOnTermination": True}
        ],
        "TagSpecifications": [tag_specification(kind, tags) for kind in kinds],  # type: ignore[arg-type]
    }


def create_template(account: Account, name: str, data: dict[str, Any], tags: Mapping[str, str], market: Market) -> str:
    """Create the launch template of a market, or find the one of this interrupted `up`; return its id."""
    title, token = f"{resource_name(name)}-{market}", tags[LAUNCH_TAG]
    with aws_errors():
        try:
            made = account.ec2.create_launch_template(
                LaunchTemplateName=title,
                LaunchTemplateData=data,  # type: ignore[arg-type]
                ClientToken=f"{token}-{market}",
                TagSpecifications=[tag_specification("launch-template", tags)],
            )
            return made["LaunchTemplate"]["LaunchTemplateId"]
        except ClientError as error:
            if code_of(error) not in CREATED:
                raise
        found = account.ec2.describe_launch_templates(LaunchTemplateNames=[title])["LaunchTemplates"][0]
    if read_tags(found).get(LAUNCH_TAG) != token:
        raise UsageError(
            f"launch template '{title}' already exists, created by another launch",
            f"choose another name; or, if it is orphaned: gpujob down {name}",
        )
    return found["LaunchTemplateId"]
