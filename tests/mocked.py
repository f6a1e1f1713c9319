"""moto in this process, one request at a time: it answers from tables that it changes while it answers others."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber


@contextmanager
def mocked_aws() -> Iterator[None]:
    """Answer every request to AWS from this process."""
    answer, lock = BotocoreStubber.__call__, threading.RLock()

    def answer_alone(stubber: BotocoreStubber, *given: object, **named: object) -> object:
        with lock:
            return answer(stubber, *given, **named)  # type: ignore[arg-type]

    with mock_aws(), patch.object(BotocoreStubber, "__call__", answer_alone):
        yield
