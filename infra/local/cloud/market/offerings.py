"""Which zone or region offers which instance type, with the wildcards that moto does not know."""

from fnmatch import fnmatchcase

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, ec2_answer
from infra.local.cloud.request import Request

PAGE = 1000


def describe_instance_type_offerings(request: Request) -> Answer:
    """Answer DescribeInstanceTypeOfferings."""
    kind = request.params.get("LocationType") or "region"
    filters = request.filters()
    types, places = filters.get("instance-type") or ["*"], filters.get("location") or ["*"]
    found = [
        {"instanceType": name, "locationType": kind, "location": place}
        for name, place in moto_state.offerings(request.region, kind)
        if any(fnmatchcase(name, one) for one in types) and any(fnmatchcase(place, one) for one in places)
    ]
    start = int(request.params.get("NextToken") or 0)
    end = start + int(request.params.get("MaxResults") or PAGE)
    page = list(found[start:end])
    return ec2_answer(
        "DescribeInstanceTypeOfferings",
        {"instanceTypeOfferingSet": page, "nextToken": str(end) if end < len(found) else ""},
    )
