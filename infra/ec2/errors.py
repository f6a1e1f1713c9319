"""What AWS refuses, classed by what a person can do about it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
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
    GpujobError,
    NotFoundError,
    ParameterError,
    PermissionsError,
    QuotaError,
    SubscriptionError,
    ThrottledError,
)

FIX_PROFILE = "see which there are: aws configure list-profiles; then set AWS_PROFILE to one of them, or unset it"
LOG_IN = "log in: aws sso login, or aws configure; then: gpujob check (to try it without AWS: --dry-run)"
TRY_AGAIN = "wait a minute, then type it again; how AWS is: https://health.aws.amazon.com/health/status"

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; the first that fits counts.
CLASSES: tuple[tuple[str, type[GpujobError], str], ...] = (
    (
        "ExpiredToken|RequestExpired|InvalidClientTokenId|AuthFailure|SignatureDoesNotMatch|Unrecognized"
        "|IncompleteSignature|MissingAuthenticationToken",
        CredentialsError,
        LOG_IN,
    ),
    (
        "OptInRequired|PendingVerification|Blocked|SubscriptionRequired|NotSignedUp",
        SubscriptionError,
        "open the page that AWS names (an image's terms: AWS Marketplace; a region: Account > AWS Regions), then type it again",
    ),
    ("UnauthorizedOperation|AccessDenied", PermissionsError, ""),
    (r"^Internal(Error|Failure|Server)|^(Service)?Unavailable|^Server|^5\d\d$", CloudError, TRY_AGAIN),
    (
        "RequestLimitExceeded|Throttl|TooManyRequests|RequestThrottled",
        ThrottledError,
        "wait a minute, then type it again",
    ),
    (
        "LimitExceeded|MaxSpotInstanceCountExceeded|QuotaExceeded",
        QuotaError,
        "gpujob check shows the quotas and how to ask for more",
    ),
    (
        "Insufficient\\w*Capacity|InsufficientFreeAddresses|Unsupported$|UnfulfillableCapacity|SpotMaxPriceTooLow"
        "|CapacityNotAvailable",
        CapacityError,
        "try another --gpu, --instance-type, --region or --spot-first",
    ),
    (
        "NotFound(Exception)?$|^InvalidInstanceType$|NoSuchResource|Malformed$|^InvalidAMIID",
        NotFoundError,
        "gpujob check",
    ),
    (
        "Invalid|Missing|UnknownParameter|Unsupported|ValidationError|IdempotentParameterMismatch",
        ParameterError,
        "leave out or change the option that AWS names",
    ),
)
ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
ENCODED = re.compile(r"Encoded authorization failure message: ([\w-]+)")


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn whatever botocore raises within into one of our errors."""
    try:
        yield
    except ProfileNotFound as error:
        raise CredentialsError(f"{str(error)[:1].lower()}{str(error)[1:]}", FIX_PROFILE) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CredentialsError(f"no usable AWS credentials: {error}", LOG_IN) from error
    except (TokenRetrievalError, UnauthorizedSSOTokenError) as error:
        raise CredentialsError(f"the AWS login has expired: {error}", LOG_IN) from error
    except ClientError as error:
        raise explain(error) from error
    except ParamValidationError as error:
        raise ParameterError(" ".join(str(error).split()), "leave out or change the option that is named") from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise CloudError(
            f"AWS does not answer: {error}", "check the network and the region, then type it again"
        ) from error
    except ResponseParserError as error:  # its words are the whole page
        raise CloudError("AWS answered with a page that is no answer to a call", TRY_AGAIN) from error
    except BotoCoreError as error:
        raise CloudError(f"AWS could not be asked: {error}", "gpujob check") from error


def code_of(error: ClientError) -> str:
    """Return AWS's code for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: ClientError) -> GpujobError:
    """Return the error of ours that AWS's answer stands for."""
    message = str(error.response.get("Error", {}).get("Message", error))
    return classify(code_of(error), message, error.operation_name)


def classify(code: str, message: str, operation: str) -> GpujobError:
    """Return the error of ours for AWS's code and words, of a call or of one part of a fleet."""
    kind, hint = next(
        ((kind, hint) for words, kind, hint in CLASSES if re.search(words, code)), (CloudError, "gpujob check")
    )
    if kind is PermissionsError:
        return explain_denial(code, message, operation)
    if kind is CredentialsError:
        return CredentialsError(f"AWS does not accept the credentials ({code}): {message}", hint)
    if kind is CloudError or kind is ParameterError:
        return kind(f"AWS refused {operation} ({code}): {message}", hint)
    return kind(f"{message} ({code})", hint)


def explain_denial(code: str, message: str, operation: str) -> PermissionsError:
    """Return the error that names the action that is not allowed."""
    named, encoded = ACTION.search(message), ENCODED.search(message)
    action = named[1] if named else f"the action of {operation}"
    plain = ENCODED.sub("", message).strip()
    error = PermissionsError(
        f"the credentials may not do {action} ({code}): {plain[:300]}",
        f"ask whoever manages the account to allow {action}; gpujob check shows what else is missing",
    )
    error.encoded = encoded[1] if encoded else ""
    return error
