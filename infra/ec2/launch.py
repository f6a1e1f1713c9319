"""Launching: one call that rents, tags and bounds an instance, tried zone by zone."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from infra.ec2.account import Account, aws_errors
from infra.ec2.instances import CLUSTER_TAG, format_time
from infra.ec2.lease import DISK_GIB, make_user_data
from infra.ec2.network import SETTLING_S, resource_name, tag_specification
from infra.errors import CapacityError, NotFoundError
from infra.model import Image, Lease, Offer
from infra.waiting import wait_until

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceNetworkInterfaceSpecificationTypeDef


def make_tags(name: str, offer: Offer, lease: Lease, owner: str) -> dict[str, str]:
    """Return the tags that tell all there is to know of a cluster."""
    return {
        "Name": resource_name(name),
        CLUSTER_TAG: name,
        "gpujob:owner": owner,
        "gpujob:lease-until": format_time(lease.until),
        "gpujob:price": f"{offer.price_usd:.6f}",
        "gpujob:gpu": str(offer.gpu or "none"),
    }


def make_request(name: str, offer: Offer, image: Image, lease: Lease, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what RunInstances is asked for, whatever the zone: an instance that ends itself and leaves nothing behind."""
    return {
        "ImageId": image.image_id,
        "InstanceType": offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": resource_name(name),
        "UserData": make_user_data(lease),
        "InstanceInitiatedShutdownBehavior": "terminate",
        # One hop: a container on the machine does not get at the machine's identity.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device,
                "Ebs": {"VolumeSize": DISK_GIB, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "TagSpecifications": [tag_specification(kind, tags) for kind in ("instance", "volume", "network-interface")],
    }


def launch(account: Account, request: Mapping[str, Any], places: Mapping[str, str], group: str, token: str) -> str:
    """Rent one instance in the first of `places` (subnet by zone) that has it free; return its id.

    The client token, with the zone, makes a repeated call harmless. Raises CapacityError when no zone has one.
    """
    full = CapacityError(
        f"no zone of {account.region} offers {request['InstanceType']}", "try another --region or --gpu"
    )
    for zone, subnet in places.items():
        interface: InstanceNetworkInterfaceSpecificationTypeDef = {
            "DeviceIndex": 0,
            "SubnetId": subnet,
            "Groups": [group],
            "AssociatePublicIpAddress": True,
            "DeleteOnTermination": True,
        }
        wanted = {**request, "NetworkInterfaces": [interface], "ClientToken": f"{token}-{zone}"}
        try:
            found = wait_until(partial(run, account, wanted), SETTLING_S, retry_on=NotFoundError)
        except CapacityError as error:
            full = error
        else:
            return str(found)
    raise full


def run(account: Account, wanted: Mapping[str, Any]) -> str:
    """Ask for one instance; return its id."""
    with aws_errors():
        return str(account.ec2.run_instances(**wanted)["Instances"][0]["InstanceId"])
