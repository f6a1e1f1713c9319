"""Follow a sent job in its bucket, where its machines upload what it prints."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.terminal import show
from infra.errors import NotFoundError

if TYPE_CHECKING:
    from infra.saved.search import Saved

PERIOD_S = 5.0


def follow_sent(job: "Saved", write: Callable[[bytes], None]) -> "Saved":
    """Pass what a sent job prints to `write`, over all attempts, until it ends; return its last state."""
    from infra.saved.search import open_saved

    shown, offset = job.prefix, 0
    while True:
        if job.prefix != shown:
            show.say(f"its machine was replaced; it resumes on {job.cluster.node.instance_id}")
            shown, offset = job.prefix, 0
        with suppress(NotFoundError):  # nothing is uploaded yet
            for chunk in job.read_log(offset):
                write(chunk)
                offset += len(chunk)
        if job.ended:
            return job
        time.sleep(PERIOD_S)
        job = open_saved(job.store, job.cluster.name, job.root) or job
