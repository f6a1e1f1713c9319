"""Instances of others, who fill pages of EC2: with a filter that none of them fits, pages that are empty and not the last."""

from typing import Any

from infra.local.cloud.answers import Answer, Tree, ec2_answer
from infra.local.cloud.request import Request

PAGE = 250
TOKEN = "others-"  # noqa: S105  where the next page begins


def page_of_others(request: Request, count: int) -> Answer | None:
    """Answer DescribeInstances with the next page of other people's instances; None when they have all been passed."""
    token = request.params.get("NextToken", TOKEN + "0")
    start = int(token.removeprefix(TOKEN)) if token.startswith(TOKEN) else count
    if start >= count or request.values("InstanceId"):
        return None
    end = min(count, start + int(request.params.get("MaxResults") or PAGE))
    rows: list[Tree] = (
        [] if request.filters() else [_reservation(number, request.region) for number in range(start, end)]
    )
    return ec2_answer("DescribeInstances", {"reservationSet": rows, "nextToken": f"{TOKEN}{end}"})


def after_others(request: Request) -> Request:
    """Return the request that goes on where other people's instances end."""
    passed = request.params.get("NextToken", "").startswith(TOKEN)
    return request.without("NextToken") if passed else request


def _reservation(number: int, region: str) -> dict[str, Any]:
    instance = {
        "instanceId": f"i-f{number:016x}",
        "imageId": "ami-0123456789abcdef0",
        "instanceState": {"code": 16, "name": "running"},
        "instanceType": "t3.micro",
        "launchTime": "2025-01-01T00:00:00.000Z",
        "placement": {"availabilityZone": f"{region}a", "tenancy": "default"},
        "tagSet": [{"key": "Name", "value": f"web-{number}"}, {"key": "team", "value": "somebody else"}],
    }
    return {"reservationId": f"r-f{number:016x}", "ownerId": "123456789012", "groupSet": [], "instancesSet": [instance]}
