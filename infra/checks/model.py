"""The result of a check."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.ec2.errors import TRY_AGAIN
from infra.errors import GpujobError


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def attempt(what: str, look: Callable[[], str]) -> Check:
    """Return a check that passes unless `look` raises."""
    try:
        return Check(what, True, look())
    except GpujobError as error:
        return fail(what, error)


def fail(what: str, error: GpujobError) -> Check:
    """Return a failed check, replacing the error's hint if that is `gpujob check` itself."""
    return Check(what, False, error.what, TRY_AGAIN if error.hint == "gpujob check" else error.hint)
