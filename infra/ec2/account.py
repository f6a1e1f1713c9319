"""An account in a region, on AWS or the local cloud, which differ only by endpoint."""

import difflib
import os
import re
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

from infra.ec2.credentials import LOG_IN, open_session
from infra.ec2.errors import aws_errors
from infra.ec2.tags import OWNER_ID_TAG, OWNER_TAG
from infra.ec2.trace import trace_calls
from infra.errors import CloudError, CredentialsError, PermissionsError, UsageError
from infra.model import CloudName

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

CLIENTS = threading.Lock()  # boto3 cannot create two clients at once
COMMON = ("us-east-1", "us-west-2", "eu-west-1", "ap-southeast-1")
"""Enabled for every account; an organisation may still deny one."""
CHECKIP_URL = "https://checkip.amazonaws.com"
# Throttled calls and server errors are retried with exponential back-off and jitter:
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
SETTINGS = Config(
    retries={"mode": "standard", "max_attempts": 10},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    user_agent_extra="gpujob",
)


# Without an explicit session name, programs invent one for each login, so that each command has a new ARN: botocore-session-TIME,
# aws-go-sdk-TIME, TIME alone (aws-vault), a UUID. A time is in seconds to nanoseconds since the epoch, until 2033.
TIME = r"(?:1[4-9]|20)\d{8}(?:\d{3}){0,3}"
INVENTED = re.compile(rf"(.*?)(?:{TIME}|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|[0-9a-f]{{32}})")
OF_PROGRAMS = re.compile(r"(botocore|aws-go-sdk|aws-sdk-[a-z0-9]+|aws-dotnet-sdk|assume-role|web-identity)\b[a-z-]*|")
SSO_ROLE = ":assumed-role/AWSReservedSSO_"
"""Of SSO's roles, whose session is the user's name."""


@dataclass(frozen=True)
class Identity:
    """The caller: account number, ARN, and the id in IAM's variable `aws:userid`."""

    account_id: str
    arn: str
    user_id: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags that name the owner of a resource: one to read, one to compare in a policy."""
        return {OWNER_TAG: self.arn, OWNER_ID_TAG: self.user_id}

    @property
    def partition(self) -> str:
        """The part of AWS that ARNs name, such as aws-us-gov."""
        return self.arn.split(":")[1]

    def is_owner(self, arn: str) -> bool:
        """Return whether an ARN is the caller's, ignoring invented session names."""
        return is_same_owner(arn, self.arn)


def is_same_owner(arn: str, other: str) -> bool:
    """Return whether two ARNs are of one user or role; an empty one matches none."""
    return bool(arn) and strip_session(arn) == strip_session(other)


def strip_session(arn: str) -> str:
    """Return an assumed role's ARN without a generated session name; any other ARN unchanged.

    A session named after a user keeps its name: each user of a role is a different owner.
    """
    role, _, session = arn.rpartition("/")
    found = INVENTED.fullmatch(session)
    if ":assumed-role/" not in role or SSO_ROLE in arn or found is None:
        return arn
    return role if OF_PROGRAMS.fullmatch(found[1]) else f"{role}/{found[1]}"


@dataclass(frozen=True)
class Account:
    """The clients of an account in a region, each created on first use."""

    cloud: CloudName
    session: boto3.Session
    endpoint_url: str | None = None
    checkip_url: str = CHECKIP_URL
    region_name: str | None = None

    @property
    def region(self) -> str:
        """The region's name."""
        return self.region_name or str(self.session.region_name)

    @property
    def is_local(self) -> bool:
        """Whether it is the local cloud's."""
        return self.cloud == "local"

    def in_region(self, region: str) -> "Account":
        """Return the same account in another region."""
        return replace(self, region_name=region)

    @cached_property
    def identity(self) -> "Identity":
        """The caller's identity; raises CredentialsError if AWS rejects the credentials."""
        with aws_errors():
            answer = self.sts.get_caller_identity()
        return Identity(answer["Account"], answer["Arn"], answer["UserId"])

    @property
    def ca_bundle(self) -> str | None:
        """The trusted certificates: AWS_CA_BUNDLE or the profile's ca_bundle; None for the system's."""
        found: str | None = self.session._session.get_config_variable("ca_bundle")
        return None if self.is_local else found or None

    @property
    def settings(self) -> Config:
        """The clients' configuration; the local cloud is never behind a proxy."""
        return SETTINGS.merge(Config(proxies={})) if self.is_local else SETTINGS

    @cached_property
    def ec2(self) -> "EC2Client":
        """The client of EC2."""
        with CLIENTS:
            return self.session.client("ec2", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def ssm(self) -> "SSMClient":
        """The client of Systems Manager, which publishes image ids."""
        with CLIENTS:
            return self.session.client("ssm", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def sts(self) -> "STSClient":
        """The client of STS, which identifies the caller."""
        with CLIENTS:
            return self.session.client("sts", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def iam(self) -> Any:
        """The client of IAM, which has the instance profiles."""
        with CLIENTS:
            return self.session.client("iam", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def scaling(self) -> Any:
        """The client of EC2 Auto Scaling."""
        with CLIENTS:
            return self.session.client("autoscaling", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def kms(self) -> Any:
        """The client of KMS, which has the keys."""
        with CLIENTS:
            return self.session.client("kms", self.region, endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def s3(self) -> Any:
        """The client of S3; the local cloud has its buckets in the path of an address."""
        settings = self.settings.merge(Config(s3={"addressing_style": "path"})) if self.endpoint_url else self.settings
        with CLIENTS:
            return self.session.client("s3", self.region, endpoint_url=self.endpoint_url, config=settings)

    @cached_property
    def quotas(self) -> "ServiceQuotasClient":
        """The client of Service Quotas."""
        with CLIENTS:
            return self.session.client(
                "service-quotas", self.region, endpoint_url=self.endpoint_url, config=self.settings
            )

    @cached_property
    def pricing(self) -> "PricingClient":
        """The client of the price list, which is served in a few regions for all of them."""
        with CLIENTS:
            return self.session.client("pricing", "us-east-1", endpoint_url=self.endpoint_url, config=self.settings)


def open_aws(region: str | None = None) -> Account:
    """Return the account that boto3 finds: environment, profile, SSO, instance role.

    Raises CredentialsError without credentials, and UsageError for an unknown or missing region.
    """
    with aws_errors():
        session = trace_calls(open_session(region))
        credentials = session.get_credentials()
        if credentials is None:
            raise CredentialsError("no AWS credentials found", LOG_IN)
        credentials.get_frozen_credentials()  # a role may need an MFA code: ask before calls run in parallel
    check_region(session)
    # Some networks block the default service.
    return Account("aws", session, checkip_url=os.environ.get("GPUJOB_CHECKIP_URL", CHECKIP_URL))


def open_local(url: str, access_key: str, region: str | None = None) -> Account:
    """Return the account of the local cloud at `url`."""
    session = make_plain_session(access_key, region or "us-east-1")
    check_region(session)
    return Account("local", session, url, f"{url}/gpujob/checkip")


def make_plain_session(access_key: str, region: str) -> boto3.Session:
    """Return a session without the user's AWS settings: a dry run must not fail because of them."""
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
    """Return the regions that are enabled for the account, asking other regions if its own refuses."""
    refusal: CloudError | None = None
    for one in [account, *(account.in_region(name) for name in COMMON if name != account.region)]:
        try:
            with aws_errors():
                return sorted(region["RegionName"] for region in one.ec2.describe_regions()["Regions"])
        except CloudError as error:
            if refusal is None and not isinstance(error, PermissionsError):
                raise
            refusal = refusal or error
    assert refusal is not None  # noqa: S101  the loop returns or is refused
    raise refusal


def has_credentials() -> bool:
    """Return whether boto3 finds AWS credentials, without checking that AWS accepts them."""
    with aws_errors():
        return open_session().get_credentials() is not None


def default_region() -> str | None:
    """Return the region that boto3 finds in a variable or a profile; None if none is set."""
    with aws_errors():
        return open_session().region_name


def check_region(session: boto3.Session, region: str | None = None) -> None:
    """Raise UsageError unless boto3 knows the region, by default the session's."""
    known = [r for p in session.get_available_partitions() for r in session.get_available_regions("ec2", p)]
    region = region or session.region_name
    if not region:
        raise UsageError("no AWS region is set", "use --region us-east-1, or: aws configure set region us-east-1")
    if region not in known:
        near = ", ".join(difflib.get_close_matches(region, known, 3, 0.5)) or ", ".join(known[:6]) + ", ..."
        raise UsageError(f"unknown region '{region}' (boto3 {boto3.__version__} knows {near})", "use another --region")
