"""Other people's instances, which fill result pages: with a filter, pages are empty but not the last."""

from typing import Any

from infra.local.cloud.answers import Answer, Tree, ec2_answer
from infra.local.cloud.request import Request

PAGE = 250
TOKEN = "others-"  # noqa: S105  where the next page begins


def page_of_others(request: Request, count: int) -> Answer | None:
    """Answer DescribeInstances with the next page of other people's instances; None after the last."""
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
    """Return the request that continues after the other people's instances."""
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
        "tagSet": [{"key": "Name", "value": f"web-{number}"}, {"key": "team", "value": "another team"}],
    }
    return {"reservationId": f"r-f{number:016x}", "ownerId": "123456789012", "groupSet": [], "instancesSet": [instance]}
