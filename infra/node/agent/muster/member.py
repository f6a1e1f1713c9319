"""Any other part of a job: it waits for part 0's turn, and follows what part 0 decides."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from typing import Any, BinaryIO

from ..records import AgentError, Ending
from .channel import Lines, LostError, introduce, tune
from .tie import POLL_S, Group, Tie

CONNECT_S = 30.0
# A shell takes a tenth of the memory of Python. It reads part 0's call, an empty line, byte by byte, and nothing after it.
WAIT = 'IFS= read -r _ <&{}; exec "$@"'
SHELL_DESCRIPTORS = range(3, 10)  # those that a POSIX shell can name


def connect(address: str, port: int) -> socket.socket:
    """Return a connection to part 0; raises AgentError."""
    try:
        link = socket.create_connection((address, port), timeout=CONNECT_S)
    except OSError as error:
        raise AgentError(f"cannot connect to node 0 at {address}:{port}: {error}") from error
    tune(link)
    return link


class Member(Tie):
    """The connection of a part to part 0."""

    def __init__(self, group: Group, link: socket.socket, *, called: bool) -> None:
        """Follow part 0 over a connection; `called` if its call has been read."""
        super().__init__(group)
        self.first: Lines | None = Lines(link)
        self.called = called
        self.unsent: list[dict[str, Any]] = []

    def links(self) -> list[socket.socket]:
        """Return the connection until part 0 has said that it is the job's turn."""
        return [self.first.link] if self.first else []

    def read_first(self, link: socket.socket) -> None:
        """Read part 0's call and its nonce, and answer."""
        assert self.first is not None  # noqa: S101  it is one of `links`
        try:
            for line in self.first.receive():
                if not line:
                    self.called = True
                    continue
                channel = introduce(self.first, self.group.key, self.group.rank, line.decode())
                self.channels[0], self.heard[0], self.first = channel, time.monotonic(), None
                for message in self.unsent:
                    channel.send(**message)
                break
        except (LostError, ValueError) as error:
            self.first = None
            link.close()
            self.note_loss(0, f"{self.group.name(0)} ended the job, or was lost: {error}")

    def wait_for_call(self, *, small: bool) -> None:
        """Wait until it is the job's turn on node 0; if `small`, as a shell that then restarts the agent."""
        if self.called:
            return
        shell = shutil.which("sh")
        if small and shell and self.first:
            self.first.link.settimeout(None)  # otherwise the shell would not wait either
            link = place_low(self.first.link.fileno())
            agent = [sys.executable, "-I", "-S", *sys.argv[:4], str(link)]
            os.execv(shell, [shell, "-c", WAIT.format(link), "sh", *agent])  # noqa: S606
        self.start()
        while not self.channels:
            time.sleep(POLL_S)
        self.stop()

    def handle(self, _: int, message: dict[str, Any]) -> None:
        """Act on a message of part 0."""
        what = message.pop("say")
        if what == "go":
            self.port = int(message["port"])
        elif what == "over":
            self.decide(Ending(**message))
        elif what == "warn":
            self.warn(int(message["rank"]))
        else:
            self.put(0, what, message)

    def begin(self, _: BinaryIO, torch: str) -> None:
        """Say that this part is ready, and which torch it has; wait until all are."""
        self.send(say="ready", torch=torch)
        while not self.port:
            time.sleep(POLL_S)

    def report(self, ending: Ending) -> None:
        """Tell part 0 how this part ended."""
        self.send(say="end", **ending._asdict())

    def foretell(self, ending: Ending) -> None:
        """Do nothing: the others learn how this part ended once it has."""

    def send(self, **message: Any) -> None:
        """Send a message to part 0, once it is the job's turn."""
        if 0 in self.channels:
            self.channels[0].send(**message)
        else:
            self.unsent.append(message)

    def note_loss(self, _: int, what: str) -> None:
        """End this part, because node 0 was lost."""
        self.decide(Ending(None, reason=what, interrupted=True))

    def note_failure(self, age_s: float, code: int) -> None:
        """Tell part 0 that a process of this part has failed."""
        self.send(say="failed", age_s=age_s, code=code)

    def pass_on(self, _: int) -> None:
        """Tell part 0 that AWS reclaims this node."""
        self.send(say="warned")

    def is_over(self) -> bool:
        """Return whether part 0 has decided how the job ended, or was lost."""
        return self.verdict is not None

    def settle(self, own: Ending) -> Ending:
        """Return how this part ended, and why."""
        verdict = self.verdict or Ending(None, interrupted=True)
        if verdict.interrupted:
            return verdict._replace(exit_code=None)
        return verdict._replace(exit_code=own.exit_code if verdict.failed else 0)


def place_low(descriptor: int) -> int:
    """Return a copy of a descriptor that a shell can name, and that survives a new program."""
    for low in SHELL_DESCRIPTORS:
        try:
            os.fstat(low)
        except OSError:
            os.dup2(descriptor, low, inheritable=True)
            return low
    raise AgentError("too many open files")
