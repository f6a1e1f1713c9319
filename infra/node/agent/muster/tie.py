"""Tie the parts of a job together: each hears of the others, and learns how the job ended.

A thread attends to the connections, first in a part's supervisor and then in its runner, which knows how the part ends. It ends
its own process's work with SIGTERM, like a cancel, once `verdict` says that the job has not succeeded.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Callable, ContextManager, NamedTuple

from ..environment.uv import say
from ..processes import descendants, tell
from ..records import PREEMPTED, Ending
from .channel import Channel, LostError, sign
from .failures import Failure, read_failure

HELLO_S, SILENCE_S = 5.0, 30.0
TICK_S, POLL_S = 1.0, 0.05
LAST_S = 25.0  # how long the others may take to end once the job has failed: a grace period twice, and some


class Group(NamedTuple):
    """The nodes of a job, and which of them this part runs on."""

    rank: int
    addresses: list[str]
    names: list[str]
    """Their instance ids."""
    key: bytes
    folder: Path
    array: bool = False
    """Whether the parts run the tasks of an array, each for itself."""
    served: bool = False
    """Whether the job's command runs on node 0 only, and the other parts serve it until it ends, as with Ray."""

    def name(self, rank: int) -> str:
        """Return a node as messages name it."""
        return f"node {rank} ({self.names[rank]})"


class Tie:
    """The connections of one part to others; `Lead` and `Member` say what their messages mean."""

    def __init__(self, group: Group) -> None:
        """Prepare; `start` begins to attend to the connections."""
        self.group = group
        self.channels: dict[int, Channel] = {}
        self.heard: dict[int, float] = {}
        self.verdict: Ending | None = None
        self.decided_s = 0.0
        self.port = 0
        """The port for the job's own rendezvous on node 0, once all parts are ready."""
        self.warned = False
        self.failure: Failure | None = None
        self.inbox: deque[tuple[int, str, dict[str, Any]]] | None = deque() if group.array else None
        """Of an array, what other parts have said about its tasks, and which were lost."""
        self.greeted_s = 0.0
        self.thread: threading.Thread | None = None
        self.wake: tuple[int, int] | None = None

    @property
    def secrets(self) -> dict[str, str]:
        """The variable that keeps strangers out of the Ray cluster of a job that runs with Ray."""
        return {"RAY_AUTH_TOKEN": sign(self.group.key, b"ray").decode()} if self.group.served else {}

    def wait_until_received(self, leave_queue: Callable[[], ContextManager[None]]) -> None:
        """Wait, as part 0 only does, until the other nodes have received the job."""

    def start(self) -> None:
        """Attend to the connections in a thread; the caller has blocked the signals for a job."""
        now = time.monotonic()
        self.heard = {rank: self.heard.get(rank, now) for rank in self.channels}
        self.wake = os.pipe()
        self.thread = threading.Thread(target=self.attend, args=(self.wake[0],), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Stop attending for a moment, so that this process can fork."""
        if self.thread and self.wake:
            os.write(self.wake[1], b"x")
            self.thread.join()
            for descriptor in self.wake:
                os.close(descriptor)
        self.thread = self.wake = None

    def close(self) -> None:
        """Close the connections in this process, which is no longer the one that attends to them."""
        for link in [*self.links(), *(channel.lines.link for channel in self.channels.values())]:
            link.close()

    def attend(self, wake: int) -> None:
        """Read what the others say until `stop`, greet them, and notice when one is silent."""
        wait_s = 0.0
        while True:
            channels = {channel.lines.link: rank for rank, channel in self.channels.items()}
            first: list[Any] = [wake]  # a descriptor besides the sockets
            ready, _, _ = select.select([*first, *self.links(), *channels], [], [], wait_s)
            if wake in ready:
                return
            for link in ready:
                if link in channels:
                    self.read(channels[link])
                else:
                    self.read_first(link)
            if time.monotonic() - self.greeted_s >= HELLO_S:
                self.greeted_s = time.monotonic()
                self.broadcast(say="hello")
            for rank, heard_s in list(self.heard.items()):
                if time.monotonic() - heard_s > SILENCE_S:
                    self.lose(rank, f"was not heard of for {SILENCE_S:g} s")
            wait_s = self.look()

    def look(self) -> float:
        """Look whether AWS reclaims this node, or a process failed; return when to look again, in seconds."""
        if self.inbox is not None:
            return TICK_S
        if not self.warned and (self.group.folder / PREEMPTED).exists():
            self.warned = True
            self.pass_on(self.group.rank)
        failure = None if self.verdict else read_failure(self.group.folder)
        if failure and failure != self.failure:
            self.failure = failure
            self.note_failure(time.monotonic() - failure.at_s, failure.code)
        return TICK_S

    def read(self, rank: int) -> None:
        """Handle the messages of another part."""
        try:
            for message in self.channels[rank].receive():
                self.heard[rank] = time.monotonic()
                self.handle(rank, message)
        except (LostError, ValueError, LookupError, TypeError) as error:
            self.lose(rank, f"was lost: {error}")

    def lose(self, rank: int, why: str) -> None:
        """Forget a part that was lost; unless the job is over, that ends it."""
        self.heard.pop(rank, None)
        self.channels.pop(rank).close()
        self.note_loss(rank, f"{self.group.name(rank)} {why}")

    def put(self, rank: int, what: str, message: dict[str, Any]) -> None:
        """Keep what another part of an array has said for the dispatcher, and wake it."""
        if self.inbox is not None:
            self.inbox.append((rank, what, message))
            os.kill(os.getpid(), signal.SIGCHLD)

    def broadcast(self, **message: Any) -> None:
        """Send a message to all parts that this one is connected to."""
        for channel in list(self.channels.values()):
            channel.send(**message)

    def decide(self, verdict: Ending) -> None:
        """Accept how the job ended; unless it succeeded, or this part only served it, end this part's work."""
        if self.verdict is None:
            self.verdict, self.decided_s = verdict, time.monotonic()
            if verdict.failed or (self.group.served and self.group.rank):
                os.kill(os.getpid(), signal.SIGTERM)

    def leave(self, ending: Ending) -> None:
        """Tell the others how an array ended, and wait until they have ended too; another part just leaves."""
        self.report(ending)
        while not self.is_over():
            time.sleep(POLL_S)

    def report(self, ending: Ending) -> None:
        """Note how this part ended, or tell part 0."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """Return whether the job has ended."""
        raise NotImplementedError

    def warn(self, rank: int) -> None:
        """Let the job save its work, because AWS reclaims another node."""
        self.warned = True
        with contextlib.suppress(OSError):
            (self.group.folder / PREEMPTED).touch()
            with (self.group.folder / "log").open("ab") as log:
                say(log, f"AWS reclaims {self.group.name(rank)}; sending SIGTERM to the job")
        for pid in descendants():
            tell(pid, signal.SIGTERM)

    def wait_for_call(self, *, small: bool) -> None:
        """Wait until it is the job's turn on node 0; that is where part 0 itself queues."""

    def links(self) -> list[socket.socket]:
        """Return the connections on which no part has proved itself yet."""
        raise NotImplementedError

    def read_first(self, link: socket.socket) -> None:
        """Read from one of `links`."""
        raise NotImplementedError

    def handle(self, rank: int, message: dict[str, Any]) -> None:
        """Act on a message."""
        raise NotImplementedError

    def note_loss(self, rank: int, what: str) -> None:
        """Act on the loss of a part."""
        raise NotImplementedError

    def note_failure(self, age_s: float, code: int) -> None:
        """Note that a process of this part failed so long ago, and perhaps others will because of it."""
        raise NotImplementedError

    def pass_on(self, rank: int) -> None:
        """Let the others know that AWS reclaims a node."""
        raise NotImplementedError
