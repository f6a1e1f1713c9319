"""The account's EC2 quotas in vCPUs, in Service Quotas' format."""

import re

from infra.local.cloud.answers import Answer, error, json_answer
from infra.local.cloud.faults import Faults
from infra.local.cloud.request import Request

QUOTAS = {
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 192.0),
    "L-417A185B": ("Running On-Demand P instances", 96.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 64.0),
    "L-7212CCBC": ("All P4, P3 and P2 Spot Instance Requests", 96.0),
    "L-C4BD4855": ("All P5 Spot Instance Requests", 192.0),
    "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 256.0),
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256.0),
}

FAMILIES = {
    **dict.fromkeys(("g", "gr", "vt"), ("L-DB2E81BA", "L-3819A6DF")),
    "p": ("L-417A185B", "L-7212CCBC"),
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), ("L-1216C47A", "L-34B43A08")),
}
"""The quotas of each instance family, on demand and spot.

https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""


def code_of(instance_type: str, spot: bool) -> str | None:
    """Return the code of the quota that applies to an instance type; None if unknown."""
    if spot and instance_type.startswith("p5"):
        return "L-C4BD4855"
    family = re.match("[a-z]*", instance_type)
    codes = FAMILIES.get(family[0] if family else "")
    return codes and codes[spot]


def limit_of(code: str, faults: Faults) -> float:
    """Return a quota in vCPUs."""
    told = faults.number("quota")
    return QUOTAS[code][1] if told is None else told


def get_service_quota(request: Request, faults: Faults) -> Answer:
    """Answer GetServiceQuota for EC2."""
    service, code = request.body.get("ServiceCode"), request.body.get("QuotaCode", "")
    if service != "ec2" or code not in QUOTAS:
        return error(request.service, "NoSuchResourceException", "The request failed because no such quota exists.")
    name, value = QUOTAS[code][0], limit_of(code, faults)
    quota = {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{request.region}:123456789012:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
    return json_answer({"Quota": quota})
