"""Outputs coming home while a job runs, so that a node that dies costs at most what it wrote since the last time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fabric import Connection

from infra.errors import GpujobError
from infra.fetch import Wanted, fetch
from infra.model import Cluster


@contextmanager
def fetch_meanwhile(
    connection: Connection, cluster: Cluster, number: int, runs: Path, every_s: float, warn: Callable[[str], None]
) -> Iterator[None]:
    """Bring home, every so many seconds, what a job has written and is whole, while the caller follows its log.

    It takes the same connection, in a thread of its own, and another one only when that breaks. What fails is told once and tried
    again the next time. When the caller is done, so is this, once what is on its way has come; a caller that fails does not wait.
    """
    done = threading.Event()

    def go_on() -> None:
        told = ""
        while not done.wait(every_s):
            try:
                fetch(connection, cluster, number, runs, lambda _: None, Wanted(settled=True))
            except GpujobError as error:
                if error.what != told and not done.is_set():
                    told = error.what
                    warn(f"outputs do not come home meanwhile: {told}")

    thread = threading.Thread(target=go_on, name="fetch-meanwhile", daemon=True)
    thread.start()
    try:
        yield
        done.set()
        thread.join()
    finally:
        done.set()
