"""Downloading outputs while a job runs, so that a node that dies costs at most what it wrote since the last time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.errors import GpujobError
from infra.fetch.outputs import Wanted, fetch
from infra.fetch.pace import UNASKED_BYTES, Pace
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class Terms:
    """How often, and how much of it in all while nobody was asked."""

    every_s: float
    most_bytes: float = UNASKED_BYTES


@contextmanager
def fetch_meanwhile(
    connection: Connection, number: int, runs: Path, terms: Terms, warn: Callable[[str], None]
) -> Iterator[None]:
    """Download, every so many seconds, what a job has written and is whole, while the caller follows its log.

    It takes the same connection, in a thread of its own, and another one only when that breaks. What fails is told once and tried
    again the next time. When the caller is done, so is this, once what is on its way has come; a caller that fails does not wait.
    """
    done, pace = threading.Event(), Pace(terms.most_bytes)

    def go_on() -> None:
        told = ""
        while not done.wait(terms.every_s):
            try:
                wanted = Wanted(settled=True, choose=pace.choose)
                pace.forget(fetch(connection, number, runs, lambda _: None, wanted).removed)
            except (GpujobError, OSError) as error:
                what = error.what if isinstance(error, GpujobError) else str(error)
                if what != told and not done.is_set():
                    told = what
                    warn(f"outputs are not being downloaded meanwhile: {told}")

    thread = threading.Thread(target=go_on, name="fetch-meanwhile", daemon=True)
    thread.start()
    try:
        yield
        done.set()
        thread.join()
    finally:
        done.set()
