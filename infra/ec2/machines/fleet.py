"""Launch nodes: a launch template, and one CreateFleet over all suitable types and zones."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.base.waiting import wait_until
from infra.ec2.account import Account, Identity
from infra.ec2.denials import decode_denial
from infra.ec2.errors import aws_errors, classify, code_of
from infra.ec2.machines.images import Image
from infra.ec2.machines.instances import find_instances, is_launch, terminate
from infra.ec2.machines.lease import disk_hour_usd
from infra.ec2.machines.network import SETTLING_S, tag_specification
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
from infra.errors import CapacityError, GpujobError, NotFoundError, PermissionsError, UsageError
from infra.model import LaunchRequest, Lease, Market, Offer, format_gpu

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CreateFleetResultTypeDef

OVERRIDES = 300  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-quotas.html


def make_tags(
    name: str, offers: Sequence[Offer], request: LaunchRequest, lease: Lease, gib_month_usd: float, owner: Identity
) -> dict[str, str]:
    """Return the tags that describe a cluster, with the highest price until the actual one is known."""
    return {
        "Name": resource_name(name),
        CLUSTER_TAG: name,
        **owner.tags,
        LEASE_TAG: format_time(lease.until),
        PRICE_TAG: f"{max(offer.highest_usd for offer in offers):.6f}",
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
            if code_of(error) != "InvalidLaunchTemplateName.AlreadyExistsException":
                raise
        found = account.ec2.describe_launch_templates(LaunchTemplateNames=[title])["LaunchTemplates"][0]
    if read_tags(found).get(LAUNCH_TAG) != token:
        raise UsageError(
            f"launch template '{title}' already exists, created by another launch",
            f"choose another name; or, if it is orphaned: gpujob down {name}",
        )
    return found["LaunchTemplateId"]


def make_request(
    template: str, places: Sequence[tuple[str, str]], market: Market, nodes: int, tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return the request for CreateFleet; `places` are pairs of instance type and subnet.

    Several nodes are launched all of one type in one zone, or not at all. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instant-fleet.html
    """
    together = (
        {"SingleInstanceType": True, "SingleAvailabilityZone": True, "MinTargetCapacity": nodes} if nodes > 1 else {}
    )
    options: dict[str, Any] = (
        {
            "SpotOptions": {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": "terminate",
                **together,
            }
        }
        if market == "spot"
        else {"OnDemandOptions": {"AllocationStrategy": "lowest-price", **together}}
    )
    return {
        "Type": "instant",
        "ClientToken": f"{tags[LAUNCH_TAG]}-{market}",
        "TagSpecifications": [tag_specification("fleet", tags)],
        "TargetCapacitySpecification": {"TotalTargetCapacity": nodes, "DefaultTargetCapacityType": market},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"},
                "Overrides": [{"InstanceType": kind, "SubnetId": subnet} for kind, subnet in places[:OVERRIDES]],
            }
        ],
        **options,
    }


def find_places(offers: Sequence[Offer], subnets: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of instance type and subnet with these offers, cheapest first."""
    pairs = [
        (price, offer.instance_type, subnets[z])
        for offer in offers
        for z, price in offer.prices.items()
        if z in subnets
    ]
    return [(kind, subnet) for _, kind, subnet in sorted(pairs)]


def launch(account: Account, name: str, request: dict[str, Any], nodes: int, token: str) -> list[str]:
    """Launch the nodes, unless launched before with the same token; return the ids of their instances.

    Raises CapacityError if AWS has too few, or the error of the most informative refusal.
    """
    existing = [i["InstanceId"] for i in find_instances(account, name) if is_launch(i, token)]
    if len(existing) >= nodes:
        return existing
    # A new resource may not be visible everywhere yet: https://github.com/boto/boto3/issues/620
    answer = wait_until(lambda: ask(account, request), SETTLING_S, retry_on=NotFoundError)
    assert answer is not None  # noqa: S101  ask returns or raises
    found = [one for instance in answer["Instances"] for one in instance["InstanceIds"]]
    if len(found) < nodes:
        terminate(account, found)
        raise explain_shortage(account, answer, len(found), nodes)
    return found


def ask(account: Account, request: dict[str, Any]) -> "CreateFleetResultTypeDef":
    """Return AWS's response; raises NotFoundError if something in the request does not exist."""
    try:
        with aws_errors():
            answer = account.ec2.create_fleet(**request)
    except PermissionsError as error:
        raise decode_denial(account, error) from error
    unknown = [error for error in errors_of(answer) if isinstance(error, NotFoundError)]
    if unknown and not answer["Instances"]:
        raise unknown[0]
    return answer


def errors_of(answer: "CreateFleetResultTypeDef") -> list[GpujobError]:
    """Return an error for each part of the fleet that AWS refused."""
    return [classify(e["ErrorCode"], e["ErrorMessage"], "CreateFleet") for e in answer["Errors"]]


def explain_shortage(account: Account, answer: "CreateFleetResultTypeDef", found: int, nodes: int) -> GpujobError:
    """Return why there are too few machines; other refusals than missing capacity come first."""
    errors = errors_of(answer)
    telling = next((error for error in errors if not isinstance(error, CapacityError)), None)
    if isinstance(telling, PermissionsError):
        return decode_denial(account, telling)
    if telling:
        return telling
    said = f": {errors[0].what}" if errors else ""
    had = f"only {found} of {nodes} machines are" if found else "no machine of this type is"
    return CapacityError(
        f"{had} available in {account.region}{said}", "try --spot-first, another --gpu, or several --region options"
    )
