"""Wait for a condition, with back-off and a deadline."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_exponential

T = TypeVar("T")


def wait_until(
    probe: Callable[[], T | None], deadline_s: float, *, retry_on: type[Exception] | tuple[type[Exception], ...] = ()
) -> T | None:
    """Call `probe` until its result is true and return that; return None after `deadline_s` seconds.

    An exception of a class in `retry_on` counts as "not yet"; it is raised if the last call before the deadline raised it.
    """
    again = retry_if_result(lambda answer: not answer) | retry_if_exception_type(retry_on)
    try:
        return Retrying(
            retry=again, wait=wait_exponential(multiplier=0.2, exp_base=1.3, max=3), stop=stop_after_delay(deadline_s)
        )(probe)
    except RetryError as end:
        if end.last_attempt.failed:
            raise end.last_attempt.exception() from None  # type: ignore[misc]
        return None
