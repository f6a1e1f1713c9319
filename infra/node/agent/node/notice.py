"""Read the spot interruption notice, which AWS gives two minutes ahead, from the machine's metadata.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request

LIMIT_S = 1.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


def read_notice() -> str:
    """Return when AWS reclaims this spot machine; "" without a notice or an answer."""
    with contextlib.suppress(OSError, ValueError):
        token = ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        found = json.loads(ask("meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token}))
        # A machine that is stopped or hibernated loses its running processes too.
        return str(found["time"]) if isinstance(found, dict) and "time" in found else ""
    return ""


def ask(path: str, method: str, headers: dict[str, str]) -> str:
    """Return a metadata entry; raises OSError if there is none."""
    place = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254/"
    request = urllib.request.Request(f"{place.rstrip('/')}/latest/{path}", method=method, headers=headers)  # noqa: S310
    with _DIRECT.open(request, timeout=LIMIT_S) as answer:
        found: bytes = answer.read(10_000)
    return found.decode()
