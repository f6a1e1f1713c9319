"""The account's EC2 quotas in vCPUs, as Service Quotas tells them."""

from infra.local.answers import Answer, error, json_answer
from infra.local.request import Request

QUOTAS = {
    "L-DB2E81BA": ("Running On-Demand G and VT instances", 192.0),
    "L-417A185B": ("Running On-Demand P instances", 96.0),
    "L-3819A6DF": ("All G and VT Spot Instance Requests", 64.0),
    "L-7212CCBC": ("All P4, P3 and P2 Spot Instance Requests", 96.0),
    "L-C4BD4855": ("All P5 Spot Instance Requests", 192.0),
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256.0),
}


def get_service_quota(request: Request) -> Answer:
    """Answer GetServiceQuota for EC2."""
    service, code = request.body.get("ServiceCode"), request.body.get("QuotaCode", "")
    if service != "ec2" or code not in QUOTAS:
        return error(request.service, "NoSuchResourceException", "The request failed because no such quota exists.")
    name, value = QUOTAS[code]
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
