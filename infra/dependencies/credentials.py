"""Remove credentials from URLs: they are sent separately, and never shown or recorded."""

import re
from collections.abc import Iterable

from infra.base import redaction

INSIDE = re.compile(r"(?<=://)([^/@\s${}]+)(?=@)")
LOGINS = ("", "git", "hg")  # of git+ssh://git@host: a login name, not a secret
VARIABLE = "GPUJOB_INDEX_{number}"


def take_credentials(lines: Iterable[str], secrets: dict[str, str]) -> tuple[str, ...]:
    """Return the lines with each URL's user and password replaced by a variable and added to `secrets`."""

    def replace(found: re.Match[str]) -> str:
        if found[1] in LOGINS:
            return found[1]
        name = next((name for name, value in secrets.items() if value == found[1]), "")
        if not name:
            name = VARIABLE.format(number=len(secrets) + 1)
            secrets[name] = found[1]
            redaction.hide([found[1], *filter(None, found[1].split(":")[1:])])
        return f"${{{name}}}"

    return tuple(INSIDE.sub(replace, line) for line in lines)


def redact_urls(text: str) -> str:
    """Return a text without the credentials of its URLs."""
    return INSIDE.sub(lambda found: found[1] if found[1] in LOGINS else redaction.MASK, text)
