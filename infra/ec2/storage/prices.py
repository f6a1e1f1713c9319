"""S3's prices, from the price list."""

import json
from collections.abc import Mapping

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.market.prices import read_prices
from infra.errors import CloudError

# The highest of https://aws.amazon.com/s3/pricing/ (sa-east-1), if the price list does not answer.
GIB_MONTH_USD = 0.0405
PUT_USD = 0.000007
STORAGE = {"storageClass": "General Purpose", "volumeType": "Standard"}
REQUESTS = {"group": "S3-API-Tier1"}  # PUT, COPY, POST and LIST


def find_storage_price(account: Account) -> float:
    """Return the price of a GiB for a month in the region; the highest of all if unknown."""
    return find_price(account, STORAGE, "GB-Mo", GIB_MONTH_USD)


def find_request_price(account: Account) -> float:
    """Return the price of a PUT request in the region; the highest of all if unknown."""
    return find_price(account, REQUESTS, "Requests", PUT_USD)


def find_price(account: Account, fields: Mapping[str, str], unit: str, highest_usd: float) -> float:
    """Return the highest price of what has these fields in the region's price list, in USD per unit."""
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    filters.append({"Type": "TERM_MATCH", "Field": "regionCode", "Value": account.region})
    try:
        with aws_errors():
            found = account.pricing.get_products(ServiceCode="AmazonS3", Filters=filters)["PriceList"]  # type: ignore[arg-type]
    except CloudError:
        return highest_usd
    prices = [price for product in found for price in read_prices(json.loads(str(product)), unit)]
    return max(prices, default=highest_usd)
