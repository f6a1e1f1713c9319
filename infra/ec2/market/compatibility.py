"""What a machine keeps of its first instance type, and which other types can therefore run it.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resize-limitations.html
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef


def check_compatible(machine: "InstanceTypeDef", old: Mapping[str, Any], new: Mapping[str, Any], hint: str) -> None:
    """Raise UsageError if EC2 could not run a machine as another type; both are as EC2 describes them."""
    reason = find_obstacle(machine, old, new)
    if reason:
        raise UsageError(f"{machine['InstanceId']} cannot become a {new['InstanceType']}: {reason}", hint)


def find_obstacle(machine: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return why a machine cannot run as another type; "" if it can."""
    network = new.get("NetworkInfo", {})
    architectures = new.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    checks = (
        (machine.get("Architecture"), architectures, "its image is for {0}, the type has {1}"),
        (machine.get("VirtualizationType"), new.get("SupportedVirtualizationTypes", []), "its image is {0}, not {1}"),
        (
            machine.get("BootMode"),
            [*new.get("SupportedBootModes", []), "uefi-preferred"],
            "its image boots by {0}, not {1}",
        ),
    )
    for own, known, words in checks:
        if own and known and own not in known:
            return words.format(own, " or ".join(known))
    if network.get("EnaSupport") == "required" and not machine.get("EnaSupport"):
        return "the type needs enhanced networking (ENA), which the machine has not enabled"
    # EC2: "Modifying the instance type from g5.4xlarge to p4d.24xlarge is not allowed", https://github.com/pulumi/pulumi/issues/16758
    cards, others = count_cards(old), count_cards(new)
    if cards != others:
        return f"it has {others} network cards and the machine's present type {cards}, which EC2 does not change"
    if len(machine.get("NetworkInterfaces", [])) > network.get("MaximumNetworkInterfaces", 99):
        return "the machine has more network interfaces than the type can have"
    # It would start with an error that explains nothing: https://github.com/seek-oss/aec/pull/228
    if machine.get("EbsOptimized") and new.get("EbsInfo", {}).get("EbsOptimizedSupport") == "unsupported":
        return "the machine is EBS-optimized, which the type does not support"
    return ""


def count_cards(info: Mapping[str, Any]) -> int:
    """Return an instance type's number of network cards."""
    return int(info.get("NetworkInfo", {}).get("MaximumNetworkCards", 1))
