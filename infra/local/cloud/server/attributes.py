"""ModifyInstanceAttribute with EC2's conditions; moto changes any attribute to anything in any state.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request

STOPPED_ONLY = ("EbsOptimized", "EnaSupport", "InstanceType", "Kernel", "Ramdisk", "SriovNetSupport", "UserData")
Refusal = tuple[str, str]


def modify_instance_attribute(request: Request, moto: Callable[[Request], Answer]) -> Answer:
    """Change one attribute, or refuse it as EC2 does."""
    instance = moto_state.find_instance(request.region, request.params.get("InstanceId", ""))
    named = sorted(name.removesuffix(".Value") for name in request.params if name.endswith(".Value"))
    refusal = find_refusal(instance, named, request.params.get("InstanceType.Value")) if instance else None
    if refusal:
        return error("ec2", *refusal)
    if "UserData" in named:
        # moto decodes a blob's base64 and then expects base64.
        value = base64.b64encode(request.params["UserData.Value"].encode()).decode()
        request = replace(request, params={**request.params, "UserData.Value": value})
    return moto(request)


def find_refusal(instance: Any, named: list[str], instance_type: str | None) -> Refusal | None:
    """Return why these attributes of an instance cannot be changed."""
    if len(named) > 1:
        words = ", ".join(name[0].lower() + name[1:] for name in named)
        return "InvalidParameterCombination", f"Fields for multiple attribute types specified: {words}"
    if any(name in STOPPED_ONLY for name in named) and instance.state != "stopped":
        return "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state."
    return find_bar(instance, instance_type) if instance_type else None


def find_bar(instance: Any, instance_type: str) -> Refusal | None:
    """Return why an instance cannot become this type.

    Whether the zone offers it and has one, and whether the quota allows it, EC2 says only at the start.
    """
    new, old = moto_state.type_info(instance_type), moto_state.type_info(instance.instance_type)
    if not new:
        return "InvalidInstanceAttributeValue", f"Invalid value '{instance_type}' for InstanceType."
    if instance.lifecycle == "spot":
        return "UnsupportedOperation", f"The instance type of the Spot Instance '{instance.id}' cannot be modified."
    architectures = new["ProcessorInfo"]["SupportedArchitectures"]
    if instance.architecture not in architectures:
        return "InvalidParameterValue", (
            f"The architecture '{', '.join(architectures)}' of the specified instance type does not match the architecture"
            f" '{instance.architecture}' of the specified AMI."
        )
    # https://github.com/pulumi/pulumi/issues/16758
    if count_cards(new) != count_cards(old):
        changed = f"Modifying the instance type from {instance.instance_type} to {instance_type}"
        return "InvalidInstanceAttributeValue", f"{changed} is not allowed."
    return None


def count_cards(info: dict[str, Any]) -> int:
    """Return an instance type's number of network cards."""
    return int(info.get("NetworkInfo", {}).get("MaximumNetworkCards", 1))
