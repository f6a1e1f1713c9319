"""Log each call to AWS: service, operation, region, result, request id, duration; no parameters."""

import logging
import time
from typing import Any

import boto3

log = logging.getLogger(__name__)
BEGAN = "gpujob_began"


def trace_calls(session: boto3.Session) -> boto3.Session:
    """Make a session's future clients log their calls; return the session.

    https://boto3.amazonaws.com/v1/documentation/api/latest/guide/events.html
    """
    session.events.register("before-call.*", note_start)
    session.events.register("after-call.*", log_answer)
    session.events.register("after-call-error.*", log_failure)
    return session


def note_start(context: dict[str, Any], **_: Any) -> None:
    """Record when a call starts."""
    context[BEGAN] = time.monotonic()


def log_answer(model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    """Log a call with a response."""
    facts = parsed.get("ResponseMetadata", {})
    error = parsed.get("Error", {}).get("Code")
    retries = facts.get("RetryAttempts", 0)
    ended = f"{error or 'ok'}{f' after {retries} retries' if retries else ''}"
    request = facts.get("RequestId", "none")
    log.info("%s: %s, request %s, %.3f s", describe(model, context), ended, request, lasted_s(context))


def log_failure(exception: BaseException, context: dict[str, Any], model: Any = None, **_: Any) -> None:
    """Log a call without a response."""
    log.info("%s: %s, %.3f s", describe(model, context), type(exception).__name__, lasted_s(context))


def describe(model: Any, context: dict[str, Any]) -> str:
    """Return the service, operation and region of a call."""
    what = f"{model.service_model.service_name} {model.name}" if model else "a call"
    return f"{what} in {context.get('client_region', 'no region')}"


def lasted_s(context: dict[str, Any]) -> float:
    """Return how long a call took."""
    now = time.monotonic()
    return now - float(context.get(BEGAN, now))
