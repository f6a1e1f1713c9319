"""Read the end of a machine's lease from its user data."""

import base64
import binascii
import gzip
import json
import re
from datetime import UTC, datetime

_LEASE = re.compile(r"(?:OnCalendar=|--boot\W+)(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")


def lease_end_s(user_data: str) -> float | None:
    """Find the epoch time at which the timer unit in the user data powers the machine off."""
    ends = [_epoch_s(found) for found in _LEASE.findall(decode(user_data))]
    return min(ends, default=None)


def read_file(user_data: str, path: str) -> str:
    """Return what the user data writes to a file of the system, as it stands there; "" if it does not."""
    head, _, config = decode(user_data).partition("\n")
    try:
        commands = json.loads(config)["bootcmd"] if head == "#cloud-config" else []
    except (ValueError, KeyError, TypeError):
        return ""
    texts = [words[-1] for words in commands if words[:2] == ["sh", "-c"] and words[2].endswith(f"> {path}")]
    return str(texts[0]) if texts else ""


def decode(user_data: str) -> str:
    """Decode user data, which may be compressed and encoded in base64 once or twice."""
    content = user_data.encode()
    for _ in range(2):
        try:
            content = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            break
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return content.decode(errors="replace")


def _epoch_s(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
