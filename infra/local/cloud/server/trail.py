"""Record the calls to the local cloud with parameters and permissions, like CloudTrail."""

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.local.cloud.iam import permissions
from infra.local.cloud.request import Request

MOST = 20_000


@dataclass(frozen=True)
class Trail:
    """The calls since the process started, oldest first."""

    _events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST))

    def record(self, request: Request, *, inner: bool = False) -> None:
        """Record a call before it takes effect; `inner` marks calls that EC2 makes on the caller's behalf."""
        needs = [asdict(need) for need in permissions.needs_of(request)]
        facts = {"at_s": time.time(), "service": request.service, "action": request.action, "region": request.region}
        words = request.params or request.body
        self._events.append({**facts, "inner": inner, "needs": needs, "params": words})

    def listing(self) -> list[dict[str, Any]]:
        """List the calls."""
        return list(self._events)

    def clear(self) -> None:
        """Clear the record."""
        self._events.clear()
