"""One account in one region, on AWS or on the local cloud: the two differ by endpoint alone."""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from infra.errors import (
    CapacityError,
    CloudError,
    CredentialsError,
    NotFoundError,
    PermissionsError,
    QuotaError,
    UsageError,
)
from infra.model import CloudName

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

CHECKIP_URL = "https://checkip.amazonaws.com"
SETTINGS = Config(
    retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=60, user_agent_extra="gpujob"
)
LOG_IN = "log in: aws sso login, or aws configure; then: gpujob check (to rehearse without AWS: --dry-run)"


@dataclass(frozen=True)
class Account:
    """The clients of one account in one region, each made when first asked for."""

    cloud: CloudName
    session: boto3.Session
    endpoint_url: str | None = None
    checkip_url: str = CHECKIP_URL

    @property
    def region(self) -> str:
        """The region's name."""
        return str(self.session.region_name)

    @property
    def settings(self) -> Config:
        """How its clients behave; the local cloud is on this machine, whatever proxy leads to the world."""
        return SETTINGS if self.cloud == "aws" else SETTINGS.merge(Config(proxies={}))

    @cached_property
    def ec2(self) -> "EC2Client":
        """The client of EC2."""
        return self.session.client("ec2", endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def ssm(self) -> "SSMClient":
        """The client of Systems Manager, which knows the images."""
        return self.session.client("ssm", endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def sts(self) -> "STSClient":
        """The client of STS, which knows who is calling."""
        return self.session.client("sts", endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def quotas(self) -> "ServiceQuotasClient":
        """The client of Service Quotas."""
        return self.session.client("service-quotas", endpoint_url=self.endpoint_url, config=self.settings)

    @cached_property
    def pricing(self) -> "PricingClient":
        """The client of the price list, which answers in a few regions only and speaks for all."""
        return self.session.client("pricing", "us-east-1", endpoint_url=self.endpoint_url, config=self.settings)


def open_aws(region: str | None = None) -> Account:
    """Return the account that boto3 finds: environment, profile, SSO, instance role.

    Raises CredentialsError where there are none and UsageError where the region is unknown or missing.
    """
    with aws_errors():
        session = boto3.Session(region_name=region)
        if session.get_credentials() is None:
            raise CredentialsError("no AWS credentials found", LOG_IN)
    check_region(session)
    return Account("aws", session)


def open_local(url: str, access_key: str, region: str | None = None) -> Account:
    """Return the account of the local cloud that answers at `url`."""
    # Nothing of the person's own AWS settings: a rehearsal needs none, and must not fail for a broken one.
    nothing = dict.fromkeys(("profile", "region"), (None, None, None, None))
    settings = botocore.session.Session(session_vars={**nothing, "config_file": (None, None, os.devnull, None)})
    session = boto3.Session(
        botocore_session=settings,
        aws_access_key_id=access_key,
        aws_secret_access_key="local",  # noqa: S106
        region_name=region or "us-east-1",
    )
    check_region(session)
    return Account("local", session, url, f"{url}/gpujob/checkip")


def has_credentials() -> bool:
    """Tell whether boto3 finds any AWS credentials, without asking whether AWS accepts them."""
    with aws_errors():
        return boto3.Session().get_credentials() is not None


def default_region() -> str | None:
    """Return the region that boto3 finds, in a variable or a profile; None where none is set."""
    with aws_errors():
        return boto3.Session().region_name


def check_region(session: boto3.Session) -> None:
    """Raise UsageError unless the session has a region that boto3 knows."""
    known = [r for p in session.get_available_partitions() for r in session.get_available_regions("ec2", p)]
    region = session.region_name
    if not region:
        raise UsageError("no AWS region is set", "give --region us-east-1, or: aws configure set region us-east-1")
    if region not in known:
        near = ", ".join(difflib.get_close_matches(region, known, 3, 0.5)) or ", ".join(known[:6]) + ", ..."
        raise UsageError(f"no region '{region}' (boto3 {boto3.__version__} knows: {near})", "give another --region")


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn whatever botocore raises within into one of our errors."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise CredentialsError(f"no usable AWS credentials: {error}", LOG_IN) from error
    except (TokenRetrievalError, UnauthorizedSSOTokenError) as error:
        raise CredentialsError(f"the AWS login has expired: {error}", LOG_IN) from error
    except ClientError as error:
        raise explain(error) from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise CloudError(
            f"AWS does not answer: {error}", "check the network and the region, then type it again"
        ) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise CloudError(f"AWS could not be asked: {error}", "gpujob check") from error


CREDENTIALS = re.compile(
    "ExpiredToken|RequestExpired|InvalidClientTokenId|AuthFailure|SignatureDoesNotMatch|Unrecognized"
)
PERMISSIONS = re.compile("UnauthorizedOperation|AccessDenied")
CAPACITY = re.compile("Insufficient\\w*Capacity|Unsupported$|InsufficientHostCapacity|SpotMaxPriceTooLow")
QUOTA = re.compile("(?<!^Request)LimitExceeded|MaxSpotInstanceCountExceeded")  # RequestLimitExceeded is throttling


def explain(error: ClientError) -> CloudError | NotFoundError:
    """Return the error of ours that AWS's answer stands for, by its code."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", error))
    if CREDENTIALS.search(code):
        return CredentialsError(f"AWS does not accept the credentials ({code}): {message}", LOG_IN)
    if PERMISSIONS.search(code):
        return PermissionsError(
            f"the credentials may not call {error.operation_name} ({code})", f"ask for the permission: {message[:300]}"
        )
    if CAPACITY.search(code):
        return CapacityError(f"{message} ({code})", "try another --gpu, --instance-type or --region")
    if QUOTA.search(code):
        return QuotaError(f"{message} ({code})", "gpujob check shows the quotas and how to ask for more")
    if code.endswith("NotFound") or code == "InvalidInstanceType":
        return NotFoundError(f"{message} ({code})", "gpujob check")
    return CloudError(f"AWS refused {error.operation_name} ({code}): {message}", "gpujob check")
