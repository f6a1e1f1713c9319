"""What was asked of the local cloud, call by call, with its parameters and permissions; as CloudTrail would tell."""

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.local.cloud.iam import permissions
from infra.local.cloud.request import Request

MOST = 20_000


@dataclass(frozen=True)
class Trail:
    """The calls of this process's life, the latest last."""

    _events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST))

    def record(self, request: Request, *, inner: bool = False) -> None:
        """Take note of a call, before it changes anything; `inner` is what EC2 does itself on behalf of a caller."""
        needs = [asdict(need) for need in permissions.needs_of(request)]
        facts = {"at_s": time.time(), "service": request.service, "action": request.action, "region": request.region}
        words = request.params or request.body
        self._events.append({**facts, "inner": inner, "needs": needs, "params": words})

    def listing(self) -> list[dict[str, Any]]:
        """List the calls."""
        return list(self._events)

    def clear(self) -> None:
        """Forget them."""
        self._events.clear()
