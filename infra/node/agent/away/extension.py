"""The lease of a sent job's machine as the bucket has it, where `gpujob extend` writes it."""

from __future__ import annotations

import contextlib
import subprocess
import time

from ..node.guard import lease_end
from .settings import Place


def apply_lease(place: Place) -> None:
    """Set this machine's lease to the one in the bucket if that differs; raises S3Error."""
    about, _ = place.read("lease.json")
    until = float(about.get("until", 0))
    if until > time.time() and int(until) != int(min(lease_end(), 2**40)):
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(until))
        with contextlib.suppress(OSError):
            subprocess.call(["sudo", "-n", "gpujob-lease", at], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
