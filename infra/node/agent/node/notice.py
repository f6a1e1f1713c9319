"""Read the spot interruption notice, which AWS gives two minutes ahead, from the machine's metadata.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import contextlib
import json

from ..aws.metadata import read_metadata


def read_notice() -> str:
    """Return when AWS reclaims this spot machine; "" without a notice or an answer."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(read_metadata("meta-data/spot/instance-action"))
        # A machine that is stopped or hibernated loses its running processes too.
        return str(found["time"]) if isinstance(found, dict) and "time" in found else ""
    return ""
