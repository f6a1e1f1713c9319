"""Follow a sent job in its bucket, where its machines upload what it prints."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cli.notices.jobs import next_commands
from cli.terminal import show
from cli.uploads.jobs import find_kept, find_last_saved, open_store
from infra.errors import CloudError, CredentialsError, GpujobError, NotFoundError, PermissionsError, UnbegunError

if TYPE_CHECKING:
    from infra.saved.search import Saved

PERIOD_S = 5.0
PATIENCE_S = 600.0
FINAL = (CredentialsError, PermissionsError)


def await_saved(error: GpujobError, cluster: str, asked: int | str | None) -> "Saved":
    """Return a sent job once a machine has begun it.

    Raises what `find_last_saved` does, UnbegunError only if no machine will begin it.
    """
    store, told = open_store(cluster), False
    number = find_kept(store, cluster) if store and asked is None else asked
    while True:
        try:
            return find_last_saved(error, cluster, number)
        except UnbegunError as refusal:
            if number is None:
                raise
            if not told:
                show.say(f"{refusal.what}; waiting for one. What AWS says: {refusal.hint}")
                told = True
        time.sleep(PERIOD_S)


def follow_sent(job: "Saved", write: Callable[[bytes], None], offset: int = 0) -> "Saved":
    """Pass what a sent job prints from an offset on to `write`, until it ends; return its last state.

    That is over all attempts. While AWS does not answer, it tries again for ten minutes.
    """
    from infra.saved.search import open_saved

    shown, told, failing_since = job.prefix, "", 0.0
    with detaching(job):
        while True:
            try:
                if job.prefix != shown:
                    show.say(f"its machine was replaced; it resumes on {job.cluster.node.instance_id}")
                    shown, offset = job.prefix, 0
                with suppress(NotFoundError):  # nothing is uploaded yet
                    for chunk in job.read_log(offset):
                        write(chunk)
                        offset += len(chunk)
                if job.ended:
                    return job
                why = job.current.reason if job.current.state == "queued" else ""
                if why not in ("", told):
                    show.say(f"job {job.current.number} queued: {why}")
                told = why
                time.sleep(PERIOD_S)
                job, failing_since = open_saved(job.store, job.cluster.name, job.root) or job, 0.0
            except CloudError as error:
                if isinstance(error, FINAL) or (failing_since and time.monotonic() > failing_since + PATIENCE_S):
                    raise
                if not failing_since:
                    show.say(f"{error.what}; the job is not affected; trying again")
                    failing_since = time.monotonic()
                time.sleep(PERIOD_S)


@contextmanager
def detaching(job: "Saved") -> Iterator[None]:
    """At Ctrl-C, say that the job continues, and exit."""
    try:
        yield
    except KeyboardInterrupt:
        show.say(f"\n{next_commands(job.cluster, job.job.number)}")
        sys.exit(130)
