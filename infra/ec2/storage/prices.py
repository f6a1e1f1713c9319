"""S3's prices, from the price list."""

import json

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.market.prices import read_prices
from infra.errors import CloudError

# USD per GB and month, the highest of https://aws.amazon.com/s3/pricing/ (sa-east-1), if the price list does not answer.
GIB_MONTH_USD = 0.0405
PUT_USD = 0.000007  # for a PUT request; the same page, sa-east-1
FIELDS = {"storageClass": "General Purpose", "volumeType": "Standard"}


def find_storage_price(account: Account) -> float:
    """Return the price of a GiB for a month in the region; the highest of all if unknown."""
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in FIELDS.items()]
    filters.append({"Type": "TERM_MATCH", "Field": "regionCode", "Value": account.region})
    try:
        with aws_errors():
            found = account.pricing.get_products(ServiceCode="AmazonS3", Filters=filters)["PriceList"]  # type: ignore[arg-type]
    except CloudError:
        return GIB_MONTH_USD
    prices = [price for product in found for price in read_prices(json.loads(str(product)), "GB-Mo")]
    return max(prices, default=GIB_MONTH_USD)
