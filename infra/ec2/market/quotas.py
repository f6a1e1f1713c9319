"""The account's vCPU quotas and their use, by instance family and market."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import NotFoundError
from infra.model import Market

# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
CODES: dict[tuple[Market, str], str] = {
    ("on-demand", "G and VT"): "L-DB2E81BA",
    ("on-demand", "P"): "L-417A185B",
    ("on-demand", "standard"): "L-1216C47A",
    ("spot", "G and VT"): "L-3819A6DF",
    ("spot", "P4, P3 and P2"): "L-7212CCBC",
    ("spot", "P5"): "L-C4BD4855",
    ("spot", "standard"): "L-34B43A08",
}
STANDARD = "acdhimrtz"


@dataclass(frozen=True)
class Quota:
    """A quota of running vCPUs for a family in a market, and its current use."""

    market: Market
    family: str
    code: str
    vcpus: int
    used_vcpus: int

    @property
    def left_vcpus(self) -> int:
        """The unused part."""
        return max(self.vcpus - self.used_vcpus, 0)


def family_of(instance_type: str, market: Market) -> str:
    """Return the family whose quota an instance type counts against; "" if unknown."""
    series = instance_type.partition(".")[0]
    if series.startswith(("g", "vt")):
        return "G and VT"
    if series.startswith("p"):
        if market == "on-demand":
            return "P"
        return "P4, P3 and P2" if series[1:2] in "234" else "P5" if series[1:2] == "5" else ""
    return "standard" if series[0] in STANDARD and series[1:2].isdigit() else ""


def find_quota(account: Account, market: Market, family: str, used_vcpus: int = 0) -> Quota | None:
    """Return the quota of a family; None if AWS has none."""
    code = CODES.get((market, family))
    if code is None:
        return None
    try:
        with aws_errors():
            answer = account.quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
    except NotFoundError:
        return None
    return Quota(market, family, code, int(answer["Quota"]["Value"]), used_vcpus)


def count_used(account: Account, families: Sequence[tuple[Market, str]]) -> dict[tuple[Market, str], int]:
    """Return the account's running vCPUs in each of these families, including other users' machines."""
    used = dict.fromkeys(families, 0)
    pages = account.ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    with aws_errors():
        for page in pages:
            for instance in (i for reservation in page["Reservations"] for i in reservation["Instances"]):
                if instance.get("InstanceLifecycle") == "capacity-block":  # these do not count
                    continue
                market: Market = "spot" if instance.get("InstanceLifecycle") == "spot" else "on-demand"
                key = market, family_of(str(instance["InstanceType"]), market)
                if key in used:
                    cores = instance.get("CpuOptions", {})
                    used[key] += cores.get("CoreCount", 0) * cores.get("ThreadsPerCore", 1)
    return used


def increase_command(region: str, code: str, vcpus: int) -> str:
    """Return the command that requests a quota increase."""
    return (
        f"aws service-quotas request-service-quota-increase --region {region}"
        f" --service-code ec2 --quota-code {code} --desired-value {vcpus}"
    )
