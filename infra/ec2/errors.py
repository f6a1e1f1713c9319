"""AWS's errors, classified by what the user can do about them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    LoginError,
    MissingDependencyException,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from infra.ec2.credentials import LOG_IN, how_to_log_in
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

FIX_PROFILE = "list profiles: aws configure list-profiles; then set AWS_PROFILE to one of them, or unset it"
TRY_AGAIN = "wait a minute, then rerun; AWS status: https://health.aws.amazon.com/health/status"

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; the first match counts.
CLASSES: tuple[tuple[str, type[GpujobError], str], ...] = (
    (
        "ExpiredToken|RequestExpired|InvalidClientTokenId|AuthFailure|SignatureDoesNotMatch|Unrecognized"
        "|IncompleteSignature|MissingAuthenticationToken",
        CredentialsError,
        "",
    ),
    (
        "OptInRequired|PendingVerification|Blocked|SubscriptionRequired|NotSignedUp",
        SubscriptionError,
        "open the page that AWS names (an image's terms: AWS Marketplace; a region: Account > AWS Regions), then rerun",
    ),
    ("UnauthorizedOperation|AccessDenied", PermissionsError, ""),
    (r"^Internal(Error|Failure|Server)|^(Service)?Unavailable|^Server|^5\d\d$", CloudError, TRY_AGAIN),
    (
        "RequestLimitExceeded|Throttl|TooManyRequests|RequestThrottled",
        ThrottledError,
        "wait a minute, then rerun",
    ),
    (
        "LimitExceeded|MaxSpotInstanceCountExceeded|QuotaExceeded",
        QuotaError,
        "see the quotas and how to raise them: gpujob check",
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
        "change or omit the option that AWS names",
    ),
)
ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
ENCODED = re.compile(r"Encoded authorization failure message: ([\w-]+)")


@contextmanager
def aws_errors() -> Iterator[None]:
    """Turn botocore's exceptions into a GpujobError."""
    try:
        yield
    except ProfileNotFound as error:
        raise CredentialsError(f"{str(error)[:1].lower()}{str(error)[1:]}", FIX_PROFILE) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise CredentialsError(f"no usable AWS credentials: {error}", LOG_IN) from error
    except (TokenRetrievalError, SSOError, LoginError) as error:
        raise CredentialsError(f"the AWS login has expired: {error}", how_to_log_in()) from error
    except (CredentialRetrievalError, RefreshWithMFAUnsupportedError, FileNotFoundError) as error:
        raise CredentialsError(f"cannot get AWS credentials: {error}", how_to_log_in()) from error
    except MissingDependencyException as error:
        raise CredentialsError(f"cannot get AWS credentials: {error}", "install botocore[crt], then rerun") from error
    except EOFError as error:  # botocore asks for an MFA code with getpass
        raise CredentialsError("the profile needs an MFA code, and there is no terminal", how_to_log_in()) from error
    except ClientError as error:
        raise explain(error) from error
    except ParamValidationError as error:
        raise ParameterError(" ".join(str(error).split()), "change or omit that option") from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise CloudError(f"cannot reach AWS: {error}", "check the network and the region, then rerun") from error
    except ResponseParserError as error:  # its message is the whole page
        raise CloudError("AWS sent an invalid response", TRY_AGAIN) from error
    except BotoCoreError as error:
        raise CloudError(f"cannot call AWS: {error}", "gpujob check") from error


def code_of(error: ClientError) -> str:
    """Return AWS's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: ClientError) -> GpujobError:
    """Return the GpujobError for an error response of AWS."""
    message = str(error.response.get("Error", {}).get("Message", error))
    return classify(code_of(error), message, error.operation_name)


def classify(code: str, message: str, operation: str) -> GpujobError:
    """Return the GpujobError for AWS's error code and message, of a call or a part of a fleet."""
    kind, hint = next(
        ((kind, hint) for words, kind, hint in CLASSES if re.search(words, code)), (CloudError, "gpujob check")
    )
    if kind is PermissionsError:
        return explain_denial(code, message, operation)
    if kind is CredentialsError:
        return CredentialsError(f"AWS rejects the credentials ({code}): {message}", how_to_log_in())
    if kind is CloudError or kind is ParameterError:
        return kind(f"AWS refused {operation} ({code}): {message}", hint)
    return kind(f"{message} ({code})", hint)


def explain_denial(code: str, message: str, operation: str) -> PermissionsError:
    """Return the error that names the denied action."""
    named, encoded = ACTION.search(message), ENCODED.search(message)
    action = named[1] if named else f"the action of {operation}"
    plain = ENCODED.sub("", message).strip()
    error = PermissionsError(
        f"the credentials do not allow {action} ({code}): {plain[:300]}",
        f"ask your AWS administrator to allow {action}; to see what else is missing: gpujob check",
    )
    error.encoded = encoded[1] if encoded else ""
    return error
