"""Which machines exist in a region: what EC2 tells of its GPU instance types, and in which zones each can be had."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import NotFoundError
from infra.model import Gpu, format_gpu

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

# DescribeInstanceTypes has no filter on GPUs. AWS gives these letters to the types that have some, and to no other:
# https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
GPU_FAMILIES = ("g*", "p*")
# The image's open kernel driver needs Turing or newer: https://github.com/NVIDIA/open-gpu-kernel-modules#readme
UNDRIVEN = frozenset({"K80", "M60", "V100", "K520"})

Info = dict[str, Any]
"""What is kept of an instance type: `describe` says what."""


def read_catalogue(account: Account, names: Sequence[str] = GPU_FAMILIES) -> list[Info]:
    """Return the x86_64 machines with these names, `*` standing for anything, each with the zones that have it.

    Without names, those with NVIDIA GPUs that our image can drive. Raises NotFoundError for a single name that does not exist.
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
                f"{names[0]} is not an x86_64 machine, which the image needs",
                f"gpujob offers --region {account.region}",
            )
        zones = find_zones(account, [info["InstanceType"] for info in usable])
    return [describe(info, zones.get(info["InstanceType"], [])) for info in usable]


def describe_types(account: Account, names: Sequence[str]) -> "list[InstanceTypeInfoTypeDef]":
    """Return what EC2 tells of the instance types with these names."""
    pages = account.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    return [info for page in pages for info in page["InstanceTypes"]]


def find_zones(account: Account, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the zones of the region in which each of these types exists."""
    zones: dict[str, list[str]] = {}
    pages = account.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    for page in pages:
        for offering in page["InstanceTypeOfferings"]:
            zones.setdefault(str(offering["InstanceType"]), []).append(offering["Location"])
    return zones


def is_x86(info: "InstanceTypeInfoTypeDef") -> bool:
    """Tell whether the image's architecture is the type's."""
    return "x86_64" in info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])


def gpu_of(info: "InstanceTypeInfoTypeDef") -> Gpu | None:
    """Return the NVIDIA GPU of an instance type that our image can drive, or None."""
    for gpu in info.get("GpuInfo", {}).get("Gpus", []):
        whole = gpu.get("Count", 0)  # 0 where a machine gets a fraction of a GPU
        if gpu.get("Manufacturer") == "NVIDIA" and gpu["Name"] not in UNDRIVEN and whole:
            return Gpu(gpu["Name"], whole)
    return None


def describe(info: "InstanceTypeInfoTypeDef", zones: Iterable[str]) -> Info:
    """Return what matters of an instance type, as JSON can hold it."""
    return {
        "instance_type": info["InstanceType"],
        "gpu": format_gpu(gpu_of(info)),
        "gpu_memory_gib": info.get("GpuInfo", {}).get("TotalGpuMemoryInMiB", 0) / 1024,
        "vcpus": info["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": info["MemoryInfo"]["SizeInMiB"] / 1024,
        "nvme_gb": info.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        "network": info.get("NetworkInfo", {}).get("NetworkPerformance", ""),
        "markets": list(info.get("SupportedUsageClasses", ["on-demand"])),
        "zones": sorted(zones),
    }
