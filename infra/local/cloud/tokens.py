"""Client tokens: each takes effect once, however often and from however many threads it is used.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request

Key = tuple[str, str, str]
"""Region, action and client token."""

MISMATCH = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."


@dataclass(frozen=True)
class Tokens:
    """The answer for each token; a failed request does not use its token up."""

    _done: dict[Key, tuple[dict[str, str], Answer]] = field(default_factory=dict)
    _locks: dict[Key, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock))
    _locks_lock: threading.Lock = field(default_factory=threading.Lock)

    def once(
        self, request: Request, work: Callable[[], Answer], again: Callable[[Answer], Answer] = lambda first: first
    ) -> Answer:
        """Do the work once per token, later answer with `again`; without a token, always do it."""
        token = request.params.get("ClientToken", "")
        if not token:
            return work()
        key = (request.region, request.action, token)
        with self._locks_lock:
            lock = self._locks[key]
        with lock:
            if key not in self._done:
                answer = work()
                if answer.status == 200:
                    self._done[key] = (request.params, answer)
                return answer
            params, first = self._done[key]
        return again(first) if params == request.params else error("ec2", "IdempotentParameterMismatch", MISMATCH)
