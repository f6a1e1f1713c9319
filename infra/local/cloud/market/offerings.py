"""Which zone or region offers which instance type, with wildcards, which moto does not support."""

import re
from collections.abc import Iterable
from fnmatch import translate

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, ec2_answer
from infra.local.cloud.request import Request

PAGE = 1000


def describe_instance_type_offerings(request: Request) -> Answer:
    """Answer DescribeInstanceTypeOfferings."""
    kind = request.params.get("LocationType") or "region"
    filters = request.filters()
    types = compile_patterns(filters.get("instance-type") or ["*"])
    places = compile_patterns(filters.get("location") or ["*"])
    found = [
        {"instanceType": name, "locationType": kind, "location": place}
        for name, place in moto_state.offerings(request.region, kind)
        if types.match(name) and places.match(place)
    ]
    start = int(request.params.get("NextToken") or 0)
    end = start + int(request.params.get("MaxResults") or PAGE)
    page = list(found[start:end])
    return ec2_answer(
        "DescribeInstanceTypeOfferings",
        {"instanceTypeOfferingSet": page, "nextToken": str(end) if end < len(found) else ""},
    )


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile patterns with * and ? into one expression."""
    return re.compile("|".join(map(translate, patterns)))
