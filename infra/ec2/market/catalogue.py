"""A region's instance types and the zones that offer them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import NotFoundError
from infra.model import Gpu, format_gpu

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

# DescribeInstanceTypes has no filter for GPUs. These letters are used for all types with GPUs, and for no others:
# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
GPU_FAMILIES = ("g*", "p*")
# The image's open kernel driver needs Turing or newer: https://github.com/NVIDIA/open-gpu-kernel-modules#readme
UNDRIVEN = frozenset({"K80", "M60", "V100", "K520"})

Info = dict[str, Any]
"""An instance type as returned by `describe`."""


def read_catalogue(account: Account, names: Sequence[str] = GPU_FAMILIES) -> list[Info]:
    """Return the x86_64 instance types with these names (`*` is a wildcard), each with its zones.

    Without names, those with NVIDIA GPUs supported by the image. Raises NotFoundError for a single name that does not exist.
    """
    with aws_errors():
        types = describe_types(account, names)
        if not types:
            raise NotFoundError(
                f"no instance type '{names[0]}' in {account.region}", f"gpujob offers --region {account.region}"
            )
        usable = [info for info in types if is_x86(info) and (names is not GPU_FAMILIES or gpu_of(info))]
        if not usable:
            raise NotFoundError(
                f"{names[0]} is not x86_64, which the image requires",
                f"gpujob offers --region {account.region}",
            )
        zones = find_zones(account, [info["InstanceType"] for info in usable])
    return [describe(info, zones.get(info["InstanceType"], [])) for info in usable]


def describe_types(account: Account, names: Sequence[str]) -> "list[InstanceTypeInfoTypeDef]":
    """Return EC2's description of the instance types with these names."""
    pages = account.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    return [info for page in pages for info in page["InstanceTypes"]]


def find_zones(account: Account, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the region's zones that offer each of these types."""
    zones: dict[str, list[str]] = {}
    pages = account.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    for page in pages:
        for offering in page["InstanceTypeOfferings"]:
            zones.setdefault(str(offering["InstanceType"]), []).append(offering["Location"])
    return zones


def is_x86(info: "InstanceTypeInfoTypeDef") -> bool:
    """Return whether an instance type has the image's architecture."""
    return "x86_64" in info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])


def gpu_of(info: "InstanceTypeInfoTypeDef") -> Gpu | None:
    """Return an instance type's NVIDIA GPU if the image's driver supports it, or None."""
    for gpu in info.get("GpuInfo", {}).get("Gpus", []):
        whole = gpu.get("Count", 0)  # 0 if a machine has a fraction of a GPU
        if gpu.get("Manufacturer") == "NVIDIA" and gpu["Name"] not in UNDRIVEN and whole:
            return Gpu(gpu["Name"], whole)
    return None


def describe(info: "InstanceTypeInfoTypeDef", zones: Iterable[str]) -> Info:
    """Return the relevant facts about an instance type as JSON-compatible values."""
    network = info.get("NetworkInfo", {})
    # Our machines have one network interface, which is on one card: a p5.48xlarge with 3200 Gigabit has 32 of 100 each.
    # AWS does not always say what a card does: https://github.com/aws/aws-cli/issues/9736
    cards = {card.get("NetworkCardIndex", 0): card for card in network.get("NetworkCards", [])}
    card = cards.get(network.get("DefaultNetworkCardIndex", 0), {})
    return {
        "instance_type": info["InstanceType"],
        "gpu": format_gpu(gpu_of(info)),
        "gpu_memory_gib": info.get("GpuInfo", {}).get("TotalGpuMemoryInMiB", 0) / 1024,
        "vcpus": info["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": info["MemoryInfo"]["SizeInMiB"] / 1024,
        "nvme_gb": info.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        "network": network.get("NetworkPerformance", ""),
        "network_gbps": card.get("BaselineBandwidthInGbps", 0.0),
        "network_peak_gbps": card.get("PeakBandwidthInGbps", 0.0),
        "markets": list(info.get("SupportedUsageClasses", ["on-demand"])),
        "zones": sorted(zones),
    }
