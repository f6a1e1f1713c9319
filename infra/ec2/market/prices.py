"""Prices of machines and disks: on-demand from the price list, and current spot prices by zone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors

# Fields of the price list: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-changes.html
MACHINE = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}
# USD per GiB and month: the highest of https://aws.amazon.com/ebs/pricing/ (sa-east-1), if the price list has none.
GP3_GIB_MONTH_USD = 0.152


def find_on_demand(account: Account, instance_types: Sequence[str] = ()) -> dict[str, float]:
    """Return on-demand Linux prices in USD per hour by type, of all types with GPUs or those named.

    Types without a price are left out.
    """
    if not instance_types:
        return read_products(list_products(account, {**MACHINE, "instanceFamily": "GPU instance"}))
    found: dict[str, float] = {}
    for name in instance_types:
        found |= read_products(list_products(account, {**MACHINE, "instanceType": name}))
    return found


def list_products(account: Account, wanted: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    """Yield the region's entries of the price list with these fields."""
    fields = {"regionCode": account.region, **wanted}
    pages = account.pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()],
    )
    with aws_errors():
        for page in pages:
            yield from (json.loads(str(product)) for product in page["PriceList"])


def read_products(products: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the lowest hourly price above zero of each instance type in these price list entries."""
    found: dict[str, float] = {}
    for product in products:
        name = product.get("product", {}).get("attributes", {}).get("instanceType", "")
        for price in read_prices(product, "Hrs"):
            found[name] = min(price, found.get(name, price))
    return found


def read_prices(product: dict[str, Any], unit: str) -> Iterable[float]:
    """Yield the on-demand prices above zero, in USD per unit, of a price list entry."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if dimension.get("unit") == unit and price > 0:
                yield price


def find_disk(account: Account) -> float:
    """Return the price of a gp3 disk in USD per GiB and month; if unknown, the highest of any region."""
    products = list_products(account, {"productFamily": "Storage", "volumeApiName": "gp3"})
    prices = [price for product in products for price in read_prices(product, "GB-Mo")]
    return max(prices, default=GP3_GIB_MONTH_USD)


def find_spot(account: Account, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return current spot prices in USD per hour by instance type and zone; `*` in a name is a wildcard."""
    latest: dict[tuple[str, str], tuple[datetime, float]] = {}
    pages = account.ec2.get_paginator("describe_spot_price_history").paginate(
        Filters=[{"Name": "instance-type", "Values": list(names)}],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.now(UTC),  # the current price is included, whenever it was set
    )
    with aws_errors():
        for page in pages:
            for row in page["SpotPriceHistory"]:
                pool = str(row["InstanceType"]), row["AvailabilityZone"]
                price = row["Timestamp"], float(row["SpotPrice"])
                latest[pool] = max(latest.get(pool, price), price)
    found: dict[str, dict[str, float]] = {}
    for (name, zone), (_, usd) in latest.items():
        found.setdefault(name, {})[zone] = usd
    return found
