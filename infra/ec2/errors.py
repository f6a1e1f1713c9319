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
    ProxyConnectionError,
    RefreshWithMFAUnsupportedError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from infra.ec2.codes import find_code
from infra.ec2.credentials import LOG_IN, how_to_log_in
from infra.errors import (
    CapacityError,
    CloudError,
    CredentialsError,
    GpujobError,
    NotFoundError,
    ParameterError,
    PermissionsError,
    PlaceError,
    QuotaError,
    SubscriptionError,
    ThrottledError,
)

FIX_PROFILE = "list profiles: aws configure list-profiles; then set AWS_PROFILE to one of them, or unset it"
TRUST = "if a proxy inspects TLS, set AWS_CA_BUNDLE to the file with its certificate"
TRY_AGAIN = "wait a minute, then rerun; AWS status: https://health.aws.amazon.com/health/status"

KINDS: dict[str, type[GpujobError]] = {
    "capacity": CapacityError,
    "place": PlaceError,
    "quota": QuotaError,
    "permission": PermissionsError,
    "credentials": CredentialsError,
    "account": SubscriptionError,
    "throttling": ThrottledError,
    "missing": NotFoundError,
    "exists": ParameterError,
    "request": ParameterError,
}
"""By class in `codes.toml`; any other is a CloudError."""
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
    except SSLError as error:
        raise CloudError(f"cannot verify AWS's certificate: {error}", TRUST) from error
    except ProxyConnectionError as error:
        raise CloudError(f"cannot reach AWS through the proxy: {error}", "check HTTPS_PROXY and NO_PROXY") from error
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
    known = find_code(code, message)
    kind = KINDS.get(known.kind, CloudError)
    if kind is PermissionsError:
        return explain_denial(code, message, operation)
    hint = how_to_log_in() if kind is CredentialsError and "Expired" in code else known.next
    if known.means:
        return kind(f"{known.means}: {message} ({code})", hint)
    return kind(f"AWS refused {operation} ({code}): {message}", hint)


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
