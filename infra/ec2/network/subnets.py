"""The subnets that machines are launched in."""

from typing import TYPE_CHECKING

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.errors import NotFoundError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef


def find_subnets(account: Account) -> tuple[str, dict[str, str]]:
    """Return the default VPC's id and default subnets by zone; raises NotFoundError if there are none."""
    default: FilterTypeDef = {"Name": "default-for-az", "Values": ["true"]}
    with aws_errors():
        subnets = account.ec2.describe_subnets(Filters=[default])["Subnets"]
    if not subnets:
        raise NotFoundError(
            f"{account.region} has no default VPC, or that has no subnet",
            f"aws ec2 create-default-vpc --region {account.region}",
        )
    return subnets[0]["VpcId"], {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in subnets}
