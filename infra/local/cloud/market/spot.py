"""Spot prices by type and zone, which move, in the format of DescribeSpotPriceHistory."""

import hashlib
import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, ec2_answer
from infra.local.cloud.faults import Faults
from infra.local.cloud.market import prices
from infra.local.cloud.request import Request

LINUX = "Linux/UNIX"
PAGE = 1000
HISTORY_S = 90 * 86_400
MOVES_S = 4 * 3600.0
"""How often a price changes; the fault `spot-moves` makes it more often."""

Row = dict[str, str]


def spot_usd(instance_type: str, zone: str, faults: Faults, at: float | None = None) -> float | None:
    """Return a spot price per hour, now or at a time; None for an unlisted type."""
    price = prices.on_demand_usd(instance_type, zone[:-1])
    if price is None:
        return None
    return _price(price, instance_type, zone, int((time.time() if at is None else at) // _moves_s(faults)))


def describe_spot_price_history(request: Request, faults: Faults) -> Answer:
    """Answer with the price changes since a time and the last one before, latest first as EC2 does."""
    filters = request.filters()
    types = request.values("InstanceType") or filters.get("instance-type") or sorted(prices.ON_DEMAND_USD)
    products = request.values("ProductDescription") or filters.get("product-description") or [LINUX]
    zones = [request.params["AvailabilityZone"]] if "AvailabilityZone" in request.params else []
    zones = zones or filters.get("availability-zone", [])
    linux = any(fnmatchcase(f"{LINUX} (Amazon VPC)", wanted) or wanted == LINUX for wanted in products)
    now = time.time()
    since, until = _parse(request.params.get("StartTime"), now - HISTORY_S), _parse(request.params.get("EndTime"), now)
    span = max(since, now - HISTORY_S), min(until, now)
    pools = [(name, zone) for name in _known(types) for zone in _zones(name, request.region, zones)] if linux else []
    rows = [row for name, zone in pools for row in _rows(name, zone, span, _moves_s(faults))]
    start = int(request.params.get("NextToken") or 0)
    end = start + int(request.params.get("MaxResults") or PAGE)
    return ec2_answer(
        "DescribeSpotPriceHistory",
        {"spotPriceHistorySet": list(rows[start:end]), "nextToken": str(end) if end < len(rows) else ""},
    )


def get_spot_placement_scores(request: Request, faults: Faults) -> Answer:
    """Answer with a score for each region that offers a type; the fault `scores` sets it."""
    types = request.values("InstanceType")
    regions = [one for one in request.values("RegionName") or [request.region] if _offers(one, types)]
    told = dict(value.rsplit(":", 1) for value in faults.values("scores"))
    found = [{"region": one, "score": int(told.get(one, 0)) or _score(one, types)} for one in regions]
    return ec2_answer("GetSpotPlacementScores", {"spotPlacementScoreSet": list(found)})


def _offers(region: str, types: list[str]) -> bool:
    return any(moto_state.zones_with(region, name) for name in types)


def _score(region: str, types: list[str]) -> int:
    """Return a score from 1 to 9; fewer than three types never have more than 3."""
    drawn = hashlib.sha256(f"{region} {sorted(types)}".encode()).digest()[0]
    return 1 + drawn % (9 if len(types) > 2 else 3)


def _moves_s(faults: Faults) -> float:
    return faults.number("spot-moves") or MOVES_S


def _price(on_demand_usd: float, instance_type: str, zone: str, slot: int) -> float:
    """Return a price near the zone's, 25 to 60 percent of on-demand; sometimes almost on-demand."""
    level = hashlib.sha256(f"{instance_type} {zone}".encode()).digest()[0] / 255
    move = hashlib.sha256(f"{instance_type} {zone} {slot}".encode()).digest()[0] / 255
    share = (0.25 + 0.35 * level) * (0.8 + 0.4 * move) if move < 0.95 else 0.98
    return round(on_demand_usd * share, 4)


def _parse(text: str | None, default: float) -> float:
    return datetime.fromisoformat(text).timestamp() if text else default


def _known(patterns: list[str]) -> list[str]:
    return [name for name in sorted(prices.ON_DEMAND_USD) if any(fnmatchcase(name, one) for one in patterns)]


def _zones(instance_type: str, region: str, wanted: list[str]) -> list[str]:
    zones = moto_state.zones_with(region, instance_type)
    return [zone for zone in zones if not wanted or any(fnmatchcase(zone, one) for one in wanted)]


def _rows(instance_type: str, zone: str, span: tuple[float, float], moves_s: float) -> list[Row]:
    on_demand_usd = prices.on_demand_usd(instance_type, zone[:-1]) or 0.0
    first, last = (int(at // moves_s) for at in span)
    return [
        {
            "instanceType": instance_type,
            "productDescription": LINUX,
            "spotPrice": f"{_price(on_demand_usd, instance_type, zone, slot):.6f}",
            "timestamp": datetime.fromtimestamp(slot * moves_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "availabilityZone": zone,
        }
        for slot in range(last, first - 1, -1)
    ]
