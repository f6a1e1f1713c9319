"""Spot prices by type and zone, in the format of DescribeSpotPriceHistory."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, ec2_answer
from infra.local.cloud.market import prices
from infra.local.cloud.request import Request

LINUX = "Linux/UNIX"
PAGE = 1000
SINCE = datetime.now(UTC).replace(microsecond=0)
"""Prices do not change while the process runs."""

Row = dict[str, str]


def describe_spot_price_history(request: Request) -> Answer:
    """Answer with the current price of each type in each zone."""
    filters = request.filters()
    types = request.values("InstanceType") or filters.get("instance-type") or sorted(prices.ON_DEMAND_USD)
    products = request.values("ProductDescription") or filters.get("product-description") or [LINUX]
    zones = [request.params["AvailabilityZone"]] if "AvailabilityZone" in request.params else []
    zones = zones or filters.get("availability-zone", [])
    linux = any(fnmatchcase(f"{LINUX} (Amazon VPC)", wanted) or wanted == LINUX for wanted in products)
    rows = [row for name in _known(types) for row in _rows(name, request.region, zones)] if linux else []
    start = int(request.params.get("NextToken") or 0)
    end = start + int(request.params.get("MaxResults") or PAGE)
    return ec2_answer(
        "DescribeSpotPriceHistory",
        {"spotPriceHistorySet": list(rows[start:end]), "nextToken": str(end) if end < len(rows) else ""},
    )


def _known(patterns: list[str]) -> list[str]:
    return [name for name in sorted(prices.ON_DEMAND_USD) if any(fnmatchcase(name, one) for one in patterns)]


def _rows(instance_type: str, region: str, wanted: list[str]) -> list[Row]:
    zones = moto_state.zones_with(region, instance_type)
    return [
        {
            "instanceType": instance_type,
            "productDescription": LINUX,
            "spotPrice": f"{prices.spot_usd(instance_type, zone):.6f}",
            "timestamp": SINCE.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "availabilityZone": zone,
        }
        for zone in zones
        if not wanted or any(fnmatchcase(zone, one) for one in wanted)
    ]
