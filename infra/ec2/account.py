"""One account in one region, on AWS or on the local cloud: the two differ by endpoint alone."""

import difflib
import os
import re
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config

from infra.ec2.errors import LOG_IN, aws_errors
from infra.ec2.tags import OWNER_ID_TAG, OWNER_TAG
from infra.ec2.trace import trace_calls
from infra.errors import CredentialsError, UsageError
from infra.model import CloudName

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

CLIENTS = threading.Lock()  # boto3 makes no two clients at once
CHECKIP_URL = "https://checkip.amazonaws.com"
# Throttling and server errors are tried again with a growing, jittered pause:
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
SETTINGS = Config(
    retries={"mode": "standard", "max_attempts": 10},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    user_agent_extra="gpujob",
)


# Who assumes a role without giving the session a name gets one with the time in it, so a new ARN at each command: botocore's
# credentials.py, and the same in other SDKs and in aws-vault.
GENERATED_SESSION = re.compile(r"(botocore-session-|aws-go-sdk-|aws-sdk-[a-z]+-(session-)?)?\d{9,}")


@dataclass(frozen=True)
class Identity:
    """Who is calling: the account's number, the caller's ARN, and the id that IAM's variable `aws:userid` holds."""

    account_id: str
    arn: str
    user_id: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say whose something is: as people read it, and as a policy can compare it."""
        return {OWNER_TAG: self.arn, OWNER_ID_TAG: self.user_id}

    def is_owner(self, arn: str) -> bool:
        """Tell whether an ARN is the caller's: of a role's sessions those without a name of their own are all the same."""
        return strip_session(arn) == strip_session(self.arn)


def strip_session(arn: str) -> str:
    """Return the ARN of an assumed role without the name of its session, if that was generated; any other ARN as it is."""
    role, _, session = arn.rpartition("/")
    return role if ":assumed-role/" in role and GENERATED_SESSION.fullmatch(session) else arn


@dataclass(frozen=True)
class Account:
    """The clients of one account in one region, each made when first asked for."""

    cloud: CloudName
    session: boto3.Session
    endpoint_url: str | None = None
    checkip_url: str = CHECKIP_URL
    region_name: str | None = None

    @property
    def region(self) -> str:
        """The region's name."""
        return self.region_name or str(self.session.region_name)

    def in_region(self, region: str) -> "Account":
        """Return the same account in another region."""
        return replace(self, region_name=region)

    @cached_property
    def identity(self) -> "Identity":
        """Who is calling; raises CredentialsError if AWS does not accept the credentials."""
        with aws_errors():
            answer = self.sts.get_caller_identity()
        return Identity(answer["Account"], answer["Arn"], answer["UserId"])

    @property
    def settings(self) -> Config:
        """How its clients behave; the local cloud is on this machine, whatever proxy leads to the world."""
        return SETTINGS if self.cloud == "aws" else SETTINGS.merge(Config(proxies={}))

    @cached_property
    def ec2(self) -> "EC2Client":
        """The client of EC2."""
        with CLIENTS:
            return self.session.client("ec2", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def ssm(self) -> "SSMClient":
        """The client of Systems Manager, which knows the images."""
        with CLIENTS:
            return self.session.client("ssm", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def sts(self) -> "STSClient":
        """The client of STS, which knows who is calling."""
        with CLIENTS:
            return self.session.client("sts", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def quotas(self) -> "ServiceQuotasClient":
        """The client of Service Quotas."""
        with CLIENTS:
            return self.session.client(
                "service-quotas", self.region, endpoint_url=self.endpoint_url, config=self.settings
            )

    @cached_property
    def pricing(self) -> "PricingClient":
        """The client of the price list, which answers in a few regions only and speaks for all."""
        with CLIENTS:
            return self.session.client("pricing", "us-east-1", endpoint_url=self.endpoint_url, config=self.settings)


def open_aws(region: str | None = None) -> Account:
    """Return the account that boto3 finds: environment, profile, SSO, instance role.

    Raises CredentialsError where there are none and UsageError where the region is unknown or missing.
    """
    with aws_errors():
        session = trace_calls(boto3.Session(region_name=region))
        if session.get_credentials() is None:
            raise CredentialsError("no AWS credentials found", LOG_IN)
    check_region(session)
    # Some networks keep their people from asking just anybody.
    return Account("aws", session, checkip_url=os.environ.get("GPUJOB_CHECKIP_URL", CHECKIP_URL))


def open_local(url: str, access_key: str, region: str | None = None) -> Account:
    """Return the account of the local cloud that answers at `url`."""
    session = make_plain_session(access_key, region or "us-east-1")
    check_region(session)
    return Account("local", session, url, f"{url}/gpujob/checkip")


def make_plain_session(access_key: str, region: str) -> boto3.Session:
    """Return a session with nothing of the person's own AWS settings: a rehearsal must not fail for a broken one."""
    nothing = dict.fromkeys(("profile", "region"), (None, None, None, None))
    settings = botocore.session.Session(session_vars={**nothing, "config_file": (None, None, os.devnull, None)})
    return trace_calls(
        boto3.Session(
            botocore_session=settings,
            aws_access_key_id=access_key,
            aws_secret_access_key="local",  # noqa: S106
            region_name=region,
        )
    )


def list_regions(account: Account) -> list[str]:
    """Return the regions that are switched on for the account."""
    with aws_errors():
        return sorted(region["RegionName"] for region in account.ec2.describe_regions()["Regions"])


def has_credentials() -> bool:
    """Tell whether boto3 finds any AWS credentials, without asking whether AWS accepts them."""
    with aws_errors():
        return boto3.Session().get_credentials() is not None


def default_region() -> str | None:
    """Return the region that boto3 finds, in a variable or a profile; None where none is set."""
    with aws_errors():
        return boto3.Session().region_name


def check_region(session: boto3.Session, region: str | None = None) -> None:
    """Raise UsageError unless the region, else the session's own, is one that boto3 knows."""
    known = [r for p in session.get_available_partitions() for r in session.get_available_regions("ec2", p)]
    region = region or session.region_name
    if not region:
        raise UsageError("no AWS region is set", "give --region us-east-1, or: aws configure set region us-east-1")
    if region not in known:
        near = ", ".join(difflib.get_close_matches(region, known, 3, 0.5)) or ", ".join(known[:6]) + ", ..."
        raise UsageError(f"no region '{region}' (boto3 {boto3.__version__} knows: {near})", "give another --region")
