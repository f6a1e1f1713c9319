"""Prices for dry runs: on-demand Linux in USD per hour, close to the public list of 2025 and 2026.

They make a dry run plausible. They are not AWS's prices, and nothing may present them as such.
"""

import hashlib
import json
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, json_answer
from infra.local.cloud.request import Request

ON_DEMAND_USD = {
    "g4ad.xlarge": 0.37853,
    "g4ad.2xlarge": 0.54117,
    "g4ad.4xlarge": 0.867,
    "g4ad.8xlarge": 1.734,
    "g4ad.16xlarge": 3.468,
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g4dn.8xlarge": 2.176,
    "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g4dn.metal": 7.824,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g5.8xlarge": 2.448,
    "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096,
    "g5.24xlarge": 8.144,
    "g5.48xlarge": 16.288,
    "g5g.xlarge": 0.42,
    "g5g.2xlarge": 0.556,
    "g5g.4xlarge": 0.828,
    "g5g.8xlarge": 1.372,
    "g5g.16xlarge": 2.744,
    "g5g.metal": 2.744,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.4xlarge": 1.3232,
    "g6.8xlarge": 2.0144,
    "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968,
    "g6.24xlarge": 6.6752,
    "g6.48xlarge": 13.3504,
    "g6e.xlarge": 1.861,
    "g6e.2xlarge": 2.24208,
    "g6e.4xlarge": 3.00424,
    "g6e.8xlarge": 4.52856,
    "g6e.12xlarge": 10.49264,
    "g6e.16xlarge": 7.57719,
    "g6e.24xlarge": 15.06559,
    "g6e.48xlarge": 30.13118,
    "g6f.large": 0.202,
    "g6f.xlarge": 0.2435,
    "g6f.2xlarge": 0.487,
    "g6f.4xlarge": 0.974,
    "gr6.4xlarge": 1.5392,
    "gr6.8xlarge": 2.4464,
    "gr6f.4xlarge": 1.082,
    "p3.2xlarge": 3.06,
    "p3.8xlarge": 12.24,
    "p3.16xlarge": 24.48,
    "p3dn.24xlarge": 31.212,
    "p4d.24xlarge": 21.957642,
    "p4de.24xlarge": 27.44705,
    "p5.4xlarge": 6.88,
    "p5.48xlarge": 55.04,
    "p5e.48xlarge": 63.296,
    "p5en.48xlarge": 63.296,
    "p6-b200.48xlarge": 113.9328,
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "m5.large": 0.096,
    "c5.xlarge": 0.17,
}
"""In us-east-1."""

REGION_FACTORS = {
    "us-east-1": 1.0,
    "us-east-2": 1.0,
    "us-west-2": 1.0,
    "us-west-1": 1.2,
    "ca-central-1": 1.11,
    "eu-north-1": 1.06,
    "eu-west-1": 1.12,
    "eu-west-2": 1.17,
    "eu-west-3": 1.17,
    "eu-central-1": 1.25,
    "ap-south-1": 1.1,
    "ap-northeast-1": 1.35,
    "ap-northeast-2": 1.23,
    "ap-southeast-1": 1.4,
    "ap-southeast-2": 1.3,
    "sa-east-1": 1.7,
}
OTHER_REGIONS_FACTOR = 1.25

GP3_GIB_MONTH_USD = 0.08
"""In us-east-1."""

PAGE = 100
FORMAT = "aws_v1"


def on_demand_usd(instance_type: str, region: str) -> float | None:
    """Return the on-demand price per hour; None for an unlisted type."""
    price = ON_DEMAND_USD.get(instance_type)
    return None if price is None else round(price * REGION_FACTORS.get(region, OTHER_REGIONS_FACTOR), 7)


def get_products(request: Request) -> Answer:
    """Answer Pricing's GetProducts for Linux with shared tenancy, and for gp3 disks."""
    wanted = {one["Field"]: one["Value"] for one in request.body.get("Filters", [])}
    if wanted.get("productFamily") == "Storage":
        products = _disks(wanted)
    else:
        types = [wanted["instanceType"]] if "instanceType" in wanted else sorted(ON_DEMAND_USD)
        products = [product for name in types for product in _products(name, wanted)]
    start = int(request.body.get("NextToken") or 0)
    end = start + min(int(request.body.get("MaxResults") or PAGE), PAGE)
    page = {"FormatVersion": FORMAT, "PriceList": [json.dumps(product) for product in products[start:end]]}
    return json_answer(page | ({"NextToken": str(end)} if end < len(products) else {}))


def _disks(wanted: dict[str, str]) -> list[dict[str, Any]]:
    region = wanted.get("regionCode", "us-east-1")
    attributes = {
        "volumeApiName": "gp3",
        "regionCode": region,
        "servicecode": "AmazonEC2",
        "storageMedia": "SSD-backed",
    }
    if any(attributes.get(name, value) != value for name, value in wanted.items()):
        return []
    price = round(GP3_GIB_MONTH_USD * REGION_FACTORS.get(region, OTHER_REGIONS_FACTOR), 4)
    words = f"${price} per GB-month of General Purpose (gp3) provisioned storage"
    return [_entry("Storage", attributes, f"gp3 {region}", price, "GB-Mo", words)]


def _products(instance_type: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
    if instance_type not in ON_DEMAND_USD:
        return []
    regions = moto_state.regions_with(instance_type) or ["us-east-1", "us-west-2", "eu-west-1"]
    described = [_attributes(instance_type, region) for region in regions]
    return [
        _product(attributes)
        for attributes in described
        if all(attributes.get(name, value).lower() == value.lower() for name, value in wanted.items())
    ]


def _attributes(instance_type: str, region: str) -> dict[str, str]:
    info = moto_state.type_info(instance_type)
    gpus = sum(gpu["Count"] for gpu in info.get("GpuInfo", {}).get("Gpus", []))
    gpu_mib = info.get("GpuInfo", {}).get("TotalGpuMemoryInMiB", 0)
    memory_mib = info.get("MemoryInfo", {}).get("SizeInMiB")
    graphics = {"gpu": str(gpus), "gpuMemory": f"{gpu_mib // 1024} GB"} if gpus else {}
    return {
        "instanceType": instance_type,
        "instanceFamily": "GPU instance" if gpus else "General purpose",
        "regionCode": region,
        "locationType": "AWS Region",
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "licenseModel": "No License required",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "servicecode": "AmazonEC2",
        "servicename": "Amazon Elastic Compute Cloud",
        "vcpu": str(info.get("VCpuInfo", {}).get("DefaultVCpus", "NA")),
        "memory": f"{memory_mib / 1024:g} GiB" if memory_mib else "NA",
        **graphics,
    }


def _product(attributes: dict[str, str]) -> dict[str, Any]:
    name, region = attributes["instanceType"], attributes["regionCode"]
    price = on_demand_usd(name, region) or 0.0
    words = f"${price} per On Demand Linux {name} Instance Hour"
    return _entry("Compute Instance", attributes, f"{name} {region}", price, "Hrs", words)


def _entry(family: str, attributes: dict[str, str], name: str, price: float, unit: str, words: str) -> dict[str, Any]:
    """Return a price list entry with one on-demand price."""
    sku = hashlib.sha256(name.encode()).hexdigest()[:16].upper()
    offer, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    dimension = {
        "rateCode": rate,
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": words,
        "appliesTo": [],
        "pricePerUnit": {"USD": f"{price:.10f}"},
    }
    term = {
        "sku": sku,
        "offerTermCode": "JRTCKXETXF",
        "effectiveDate": "2025-01-01T00:00:00Z",
        "termAttributes": {},
        "priceDimensions": {rate: dimension},
    }
    return {
        "product": {"productFamily": family, "sku": sku, "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {offer: term}},
        "version": "20250101000000",
        "publicationDate": "2025-01-01T00:00:00Z",
    }
