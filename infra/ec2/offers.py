"""What can be rented: GPU instance types, their prices, quotas and images."""

import difflib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from infra.ec2.account import Account, aws_errors
from infra.errors import CloudError, NotFoundError
from infra.model import Gpu, Image, Offer

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef

# The families that carry GPUs; what they carry, DescribeInstanceTypes tells.
GPU_FAMILIES = ("g*", "p*")
# The image's open kernel driver needs Turing or newer: https://github.com/NVIDIA/open-gpu-kernel-modules#readme
UNDRIVEN = frozenset({"K80", "M60", "V100"})
# GetParameters takes ten names a call, and one call is enough to find the newest of ten releases.
# Names: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
IMAGE_NAMES = tuple(
    f"/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.{minor}-ubuntu-24.04/latest/ami-id"
    for minor in range(16, 6, -1)
)
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
QUOTAS = {"g": "L-DB2E81BA", "p": "L-417A185B"}


def find_offer(account: Account, gpu: Gpu, instance_type: str | None = None) -> Offer:
    """Return the cheapest on-demand offer that has this GPU so many times, or the instance type named.

    Raises NotFoundError, with what exists, where there is none.
    """
    with aws_errors():
        if instance_type:
            types = [describe_type(account, instance_type)]
        else:
            types = match_gpu(list(describe_types(account, GPU_FAMILIES)), gpu, account.region)
        with ThreadPoolExecutor(8) as pool:
            zones = pool.submit(find_zones, account, [info["InstanceType"] for info in types])
            prices = list(pool.map(lambda info: find_price(account, info["InstanceType"]), types))
        offers = [
            make_offer(info, price, zones.result().get(info["InstanceType"], ()))
            for info, price in zip(types, prices, strict=True)
            if price is not None
        ]
    if not offers:
        raise CloudError(
            f"AWS tells no on-demand price for {types[0]['InstanceType']} in {account.region}", "try another --region"
        )
    return min(offers, key=lambda offer: (not offer.zones, offer.price_usd))


def describe_type(account: Account, name: str) -> "InstanceTypeInfoTypeDef":
    """Return what EC2 tells of exactly this type; raises NotFoundError if there is none, or our image does not run on it."""
    try:
        with aws_errors():
            info = account.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]  # type: ignore[list-item]
    except NotFoundError as error:
        raise NotFoundError(f"no instance type '{name}' in {account.region}", "gpujob up --gpu T4") from error
    if not is_x86(info):
        raise NotFoundError(f"{name} is no x86_64 machine, and the image is for those", "gpujob up --gpu T4")
    return info


def is_x86(info: "InstanceTypeInfoTypeDef") -> bool:
    """Tell whether the image's architecture is the type's."""
    return "x86_64" in info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])


def describe_types(account: Account, names: Sequence[str]) -> "Iterable[InstanceTypeInfoTypeDef]":
    """Yield what EC2 tells of the instance types with these names, where `*` stands for anything."""
    pages = account.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": list(names)}]
    )
    for page in pages:
        yield from page["InstanceTypes"]


def gpu_of(info: "InstanceTypeInfoTypeDef") -> Gpu | None:
    """Return the NVIDIA GPU of an instance type that our image can drive, or None."""
    for gpu in info.get("GpuInfo", {}).get("Gpus", []):
        whole = gpu.get("Count", 0)  # 0 where a machine gets a fraction of a GPU
        if gpu.get("Manufacturer") == "NVIDIA" and gpu["Name"] not in UNDRIVEN and whole:
            return Gpu(gpu["Name"], whole)
    return None


def match_gpu(types: "list[InstanceTypeInfoTypeDef]", gpu: Gpu, region: str) -> "list[InstanceTypeInfoTypeDef]":
    """Return the types that carry exactly this GPU; raises NotFoundError with the names and counts that exist."""
    usable = [info for info in types if is_x86(info)]
    found = {(g.name, g.count) for info in usable if (g := gpu_of(info))}
    names = sorted({name for name, _ in found})
    name = next((name for name in names if name.lower() == gpu.name.lower()), None)
    if name is None:
        near = difflib.get_close_matches(gpu.name.upper(), names, 1)
        raise NotFoundError(
            f"no GPU '{gpu.name}' in {region}; there are: {', '.join(names)}",
            f"gpujob up --gpu {near[0] if near else 'T4'}",
        )
    counts = sorted(count for found_name, count in found if found_name == name)
    if gpu.count not in counts:
        raise NotFoundError(
            f"no machine with {gpu.count} x {name} in {region}; there are machines with {', '.join(map(str, counts))}",
            f"gpujob up --gpu {name}:{counts[0]}",
        )
    return [info for info in usable if gpu_of(info) == Gpu(name, gpu.count)]


def make_offer(info: "InstanceTypeInfoTypeDef", price_usd: float, zones: Sequence[str]) -> Offer:
    """Return the offer that EC2's description and the price list make."""
    gpus = info.get("GpuInfo", {})
    return Offer(
        instance_type=info["InstanceType"],
        gpu=gpu_of(info),
        gpu_memory_gib=gpus.get("TotalGpuMemoryInMiB", 0) / 1024,
        vcpus=info["VCpuInfo"]["DefaultVCpus"],
        memory_gib=info["MemoryInfo"]["SizeInMiB"] / 1024,
        price_usd=price_usd,
        zones=tuple(sorted(zones)),
    )


def find_zones(account: Account, instance_types: Sequence[str]) -> dict[str, list[str]]:
    """Return the zones of the region in which each of these types exists."""
    zones: dict[str, list[str]] = {}
    pages = account.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(instance_types)}]
    )
    for page in pages:
        for offering in page["InstanceTypeOfferings"]:
            zones.setdefault(str(offering["InstanceType"]), []).append(offering["Location"])
    return zones


def find_price(account: Account, instance_type: str) -> float | None:
    """Return the on-demand price of a Linux machine in USD per hour, or None if the price list has none.

    Fields: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
    """
    wanted = {
        "instanceType": instance_type,
        "regionCode": account.region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    answer = account.pricing.get_products(
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
    )
    prices = [price for product in answer["PriceList"] for price in read_prices(json.loads(str(product)))]
    return min(prices, default=None)


def read_prices(product: dict[str, Any]) -> Iterable[float]:
    """Yield the on-demand prices per hour above zero of one entry of the price list."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if dimension.get("unit") == "Hrs" and price > 0:
                yield price


def find_image(account: Account) -> Image:
    """Return the newest AWS Deep Learning AMI with PyTorch on Ubuntu that the region has."""
    with aws_errors():
        answer = account.ssm.get_parameters(Names=list(IMAGE_NAMES))
        found = {parameter["Name"]: parameter["Value"] for parameter in answer["Parameters"]}
        image_id = next((found[name] for name in IMAGE_NAMES if name in found), None)
        if image_id is None:
            raise CloudError(f"AWS publishes no PyTorch image in {account.region}", "try --region us-east-1")
        images = account.ec2.describe_images(ImageIds=[image_id])["Images"]
    if not images:
        raise CloudError(f"image {image_id} cannot be seen in {account.region}", "try --region us-east-1")
    return Image(image_id, images[0].get("Name", image_id), images[0].get("RootDeviceName", "/dev/sda1"))


def find_quota(account: Account, family: str) -> int | None:
    """Return how many vCPUs of on-demand machines of a family ("g", "p") the account may run at once; None for other families."""
    code = QUOTAS.get(family[:1])
    if code is None:
        return None
    with aws_errors():
        answer = account.quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
    return int(answer["Quota"]["Value"])


def quota_command(account: Account, family: str, vcpus: int) -> str:
    """Return the command line that asks AWS for a larger quota."""
    return (
        f"aws service-quotas request-service-quota-increase --region {account.region}"
        f" --service-code ec2 --quota-code {QUOTAS[family[:1]]} --desired-value {vcpus}"
    )
