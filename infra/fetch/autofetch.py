"""Download outputs while a job runs, so that little is lost if the node dies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.cluster.connections import reach
from infra.errors import GpujobError
from infra.fetch.outputs import Wanted, fetch
from infra.fetch.pace import UNASKED_BYTES, Pace
from infra.node.calls import expect
from infra.ssh.connection import Connection

LAST_S = 10.0


@dataclass(frozen=True)
class Terms:
    """How often to download, how much in total without asking, and where failures are reported."""

    every_s: float
    warn: Callable[[str], None]
    most_bytes: float = UNASKED_BYTES


@contextmanager
def fetch_all_meanwhile(
    connection: Connection, number: int, runs: Path, terms: Terms, nodes: int = 1
) -> Iterator[None]:
    """Download a job's complete files from all nodes at intervals while the caller follows its log."""
    with ExitStack() as opened:
        for rank in range(1, nodes):
            other = opened.enter_context(reach(connection.cluster, rank))
            opened.enter_context(fetch_meanwhile(other, number, runs, terms))
        opened.enter_context(fetch_meanwhile(connection, number, runs, terms))
        yield


@contextmanager
def fetch_meanwhile(connection: Connection, number: int, runs: Path, terms: Terms) -> Iterator[None]:
    """Download a job's complete files at intervals while the caller follows its log.

    This uses the same connection in another thread, and opens a new one only if that breaks. A failure is reported once and
    retried at the next interval. The current download is completed when the caller finishes, but not when it fails, nor from
    another node, which may be gone.
    """
    done, pace = threading.Event(), Pace(terms.most_bytes)
    expect(connection, "outputs")

    def go_on() -> None:
        reported, fetched = "", None
        while not done.wait(terms.every_s):
            try:
                wanted = Wanted(settled=True, choose=pace.choose, before=fetched)
                fetched = fetch(connection, number, runs, lambda _: None, wanted)
                expect(connection, "outputs")
                pace.forget(fetched.removed)
            except (GpujobError, OSError) as error:
                what = error.what if isinstance(error, GpujobError) else str(error)
                if what != reported and not done.is_set():
                    reported = what
                    terms.warn(f"cannot download outputs while the job runs: {reported}")

    thread = threading.Thread(target=go_on, name="fetch-meanwhile", daemon=True)
    thread.start()
    try:
        yield
        done.set()
        thread.join(LAST_S if connection.rank else None)
    finally:
        done.set()
