"""AWS's error codes as data: the class of each, what it means, and what to do next (`codes.toml`)."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("codes.toml")
# For codes that are not listed; the first match counts.
FAMILIES = (
    ("ExpiredToken|RequestExpired|AuthFailure|Signature|Unrecognized|Credentials", "credentials"),
    ("OptIn|Subscription|NotSignedUp|Blocked|Verification", "account"),
    ("Unauthorized|AccessDenied", "permission"),
    (r"^Internal|^(Service)?Unavailable|^Server|^5\d\d$", "transient"),
    ("Throttl|TooManyRequests|RequestLimitExceeded|SlowDown", "throttling"),
    ("LimitExceeded|CountExceeded|QuotaExceeded", "quota"),
    ("Insufficient|Capacity", "capacity"),
    ("NotFound(Exception)?$|Malformed$|NoSuch", "missing"),
    ("Duplicate$|AlreadyExists", "exists"),
    ("InUse$|State$", "state"),
    ("Invalid|Missing|Unknown|Unsupported|Validation|Mismatch", "request"),
)


@dataclass(frozen=True)
class Code:
    """What is known of an error code."""

    kind: str
    """Its class; "" for an unknown code."""
    means: str
    """"" where AWS's own sentence is enough."""
    next: str
    """The next step."""


@cache
def read_codes() -> dict[str, Any]:
    """Return the content of `codes.toml`."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def is_listed(code: str) -> bool:
    """Return whether a code is in the data, and not merely of a family."""
    data = read_codes()
    return any(code in data[kind] for kind in data["classes"]) or any(code == one["code"] for one in data["variants"])


def find_code(code: str, message: str) -> Code:
    """Return what is known of an error by its code, or by its message where that decides."""
    data = read_codes()
    for one in data["variants"]:
        if code == one["code"] and re.search(one["message"], message):
            kind = one["class"]
            return Code(kind, one["means"], one.get("next") or data["next"].get(code) or data["classes"][kind])
    for kind, hint in data["classes"].items():
        if code in data[kind]:
            return Code(kind, data[kind][code], data["next"].get(code, hint))
    kind = next((kind for words, kind in FAMILIES if re.search(words, code)), "")
    return Code(kind, "", data["classes"].get(kind, "gpujob check"))
