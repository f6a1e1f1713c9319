"""Part 0 of a job: it admits the others, starts all together, and decides how the job ended."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Any, BinaryIO, Callable, ContextManager

from ..environment.uv import say
from ..records import AgentError, Ending
from .channel import CALL, Lines, LostError, admit, make_nonce, tune
from .failures import Failures
from .port import hold_port
from .tie import LAST_S, POLL_S, TICK_S, Group, Tie
from .versions import compare

READY_S = 1800.0
RECEIVED_S = 900.0  # for the client to submit the job to the other nodes
PATIENCE_S = 10.0  # so long it keeps its place in the queue
SILENT_S = 2.0  # before the log says whom the job waits for
PROOF_S = 10.0  # for a stranger to prove that it is a part of the job
MOST_STRANGERS = 256
TCP_INFO, WAITING_AT = 11, 24  # where Linux says of a listening socket how many connections wait to be accepted


def listen(address: str) -> socket.socket:
    """Return a socket on which the other nodes reach this one; raises AgentError."""
    try:
        return socket.create_server((address, 0), backlog=MOST_STRANGERS)
    except OSError as error:
        raise AgentError(f"cannot listen on {address}, this node's private address: {error.strerror}") from error


class Lead(Tie):
    """The connections of part 0 to all others."""

    def __init__(self, group: Group, listening: socket.socket) -> None:
        """Lead the parts that connect to a socket."""
        super().__init__(group)
        self.listening: socket.socket | None = listening
        self.strangers: dict[socket.socket, tuple[Lines, str, float]] = {}
        self.ready: dict[int, str] = {}
        """The parts that are ready, and the torch of each."""
        self.failures = Failures()
        self.held: socket.socket | None = None
        """What keeps the port for the job's own rendezvous."""
        self.ends: dict[int, Ending] = {}
        self.gone: set[int] = set()
        self.lock = threading.Lock()

    @property
    def others(self) -> range:
        """The ranks of the other parts."""
        return range(1, len(self.group.names))

    def count_absent(self) -> int:
        """Return how many parts have not connected yet, as long as no connection has been accepted."""
        if not self.listening:
            return 0
        about = self.listening.getsockopt(socket.IPPROTO_TCP, TCP_INFO, WAITING_AT + 4)
        waiting: int = struct.unpack_from("=I", about, WAITING_AT)[0]
        return max(0, len(self.others) - waiting)

    def wait_until_received(self, leave_queue: Callable[[], ContextManager[None]]) -> None:
        """Wait until the other nodes have received the job, before long out of the queue; raises AgentError.

        An array does not wait.
        """
        began_s, names = time.monotonic(), ", ".join(map(self.group.name, self.others))
        reported = left = False
        with contextlib.ExitStack() as outside:
            while absent := 0 if self.group.array else self.count_absent():
                waited_s = time.monotonic() - began_s
                of = f"{absent} of " * (absent < len(self.others))
                if waited_s > RECEIVED_S:
                    what = f"{of}{names} did not receive the job within {RECEIVED_S / 60:g} min"
                    raise AgentError(f"{what}: its submission was interrupted")
                if waited_s > SILENT_S and not reported:
                    reported = True
                    with (self.group.folder / "log").open("ab") as log:
                        say(log, f"waiting for {of}{names}, to which the job has not been submitted yet")
                if waited_s > PATIENCE_S and not left:
                    left = True
                    outside.enter_context(leave_queue())
                time.sleep(POLL_S)

    def links(self) -> list[socket.socket]:
        """Return the listening socket and the connections of strangers."""
        now = time.monotonic()
        for link, (_, _, since_s) in list(self.strangers.items()):
            if now - since_s > PROOF_S:
                self.drop(link)
        return [*([self.listening] if self.listening else []), *self.strangers]

    def read_first(self, link: socket.socket) -> None:
        """Accept a connection, or read the proof that a stranger is a part of the job."""
        if link is self.listening:
            with contextlib.suppress(OSError):
                self.call(link.accept()[0])
            return
        lines, nonce, _ = self.strangers[link]
        try:
            received = lines.receive()
            if received:
                rank, channel = admit(lines, self.group.key, nonce, received[0])
                if rank not in self.others or rank in self.channels or rank in self.gone:
                    raise LostError("that part is not expected")
                del self.strangers[link]
                self.channels[rank], self.heard[rank] = channel, time.monotonic()
                if self.verdict:
                    channel.send(say="over", **self.verdict._asdict())
                for line in received[1:]:
                    self.handle(rank, channel.open(line))
        except (LostError, ValueError, LookupError, TypeError):
            self.drop(link)

    def call(self, link: socket.socket) -> None:
        """Tell a part that it is the job's turn, and ask for its proof."""
        tune(link)
        if len(self.strangers) >= MOST_STRANGERS:
            link.close()
            return
        nonce = make_nonce()
        link.sendall(CALL + nonce.encode() + b"\n")
        self.strangers[link] = Lines(link), nonce, time.monotonic()

    def drop(self, link: socket.socket) -> None:
        """Close the connection of a stranger."""
        self.strangers.pop(link, None)
        link.close()

    def handle(self, rank: int, message: dict[str, Any]) -> None:
        """Act on a message of another part."""
        what = message.pop("say")
        if what == "ready":
            self.ready[rank] = str(message["torch"])
        elif what == "failed":
            self.failures.note(rank, message["age_s"], message["code"])
        elif what == "end":
            self.note_end(rank, Ending(**message))
        elif what == "warned":
            self.pass_on(rank)
        else:
            self.put(rank, what, message)

    def begin(self, log: BinaryIO, torch: str) -> None:
        """Wait until all parts are ready, with the same torch, then start them; raises AgentError."""
        self.ready[0] = torch
        self.wait_for_others(log)
        differing = compare({self.group.name(rank): self.ready[rank] for rank in sorted(self.ready)})
        if differing:
            raise AgentError(differing)
        self.held = hold_port(self.group.addresses[0])
        self.port = self.held.getsockname()[1]
        self.broadcast(say="go", port=self.port)

    def wait_for_others(self, log: BinaryIO) -> None:
        """Wait until all other parts are ready; raises AgentError if that takes too long."""
        began_s, reported = time.monotonic(), ""
        while missing := [rank for rank in self.others if rank not in self.ready]:
            waited_s = time.monotonic() - began_s
            absent = [self.group.name(rank) for rank in missing if rank not in self.channels]
            names = ", ".join(map(self.group.name, missing))
            if absent and waited_s > RECEIVED_S:
                what = f"{', '.join(absent)} did not receive the job within {RECEIVED_S / 60:g} min"
                raise AgentError(f"{what}: its submission was interrupted")
            if waited_s > READY_S:
                raise AgentError(f"not ready within {READY_S / 60:g} min: {names}")
            line = f"waiting for {names}" + ", to which the job has not been submitted yet" * bool(absent)
            if waited_s > SILENT_S and line != reported:
                reported = line
                say(log, line)
            time.sleep(POLL_S)

    def report(self, ending: Ending) -> None:
        """Note how this part ended."""
        self.note_end(0, ending)

    def foretell(self, ending: Ending) -> None:
        """Tell the others that this part is about to be ended, so that all end at once."""
        self.announce(ending)

    def note_end(self, rank: int, ending: Ending) -> None:
        """Note how a part ended; the first that did not succeed ends the job, and so does the last."""
        self.ends.setdefault(rank, ending)
        if self.inbox is not None:
            self.note_array_end(rank, ending)
            return
        if ending.failed and (ending.cancelled or ending.reason or ending.exit_code is None):
            self.announce(ending._replace(reason=self.explain(rank, ending), failed_node=rank))
        elif ending.exit_code:
            self.failures.note(rank, 0.0, ending.exit_code)
            self.failures.begin()
        if len(self.ends) == len(self.group.names) or (rank == 0 and self.group.served):
            self.announce(Ending(0)) if self.failures.due_s is None else self.blame()

    def note_array_end(self, rank: int, ending: Ending) -> None:
        """Note that a part of an array has ended, which it does by itself only on node 0."""
        if not rank:
            self.announce(ending)
        elif not self.verdict:
            self.put(rank, "lost", {"reason": f"{self.group.name(rank)}: {ending.reason or 'it was ended'}"})

    def look(self) -> float:
        """Decide which part failed first, once it is time to; return how long to wait before looking again."""
        super().look()
        if self.verdict is None and self.failures.is_due():
            self.blame()
        return TICK_S if self.failures.due_s is None or self.verdict else POLL_S

    def blame(self) -> None:
        """End the job with the failure that was first."""
        rank, ending = self.failures.find_first()
        self.announce(ending._replace(reason=self.explain(rank, ending), failed_node=rank))

    def note_failure(self, age_s: float, code: int) -> None:
        """Note that a process of this part has failed."""
        self.failures.note(0, age_s, code)

    def note_loss(self, rank: int, what: str) -> None:
        """End the job, because a part was lost; an array continues without it."""
        self.gone.add(rank)
        if self.inbox is not None:
            self.put(rank, "lost", {"reason": what})
            return
        self.announce(Ending(None, reason=what, interrupted=True, failed_node=rank))

    def announce(self, verdict: Ending) -> None:
        """Decide how the job ended, and tell the others."""
        with self.lock:
            first = self.verdict is None
            self.decide(verdict)
        if first:
            self.broadcast(say="over", **verdict._asdict())

    def explain(self, rank: int, ending: Ending) -> str:
        """Return why the job ended, with the node that is the reason, unless nodes are named already."""
        if ending.cancelled or any(name in ending.reason for name in self.group.names):
            return ending.reason
        return f"{self.group.name(rank)}{f': {ending.reason}' if ending.reason else ' failed first'}"

    def pass_on(self, rank: int) -> None:
        """Let all other parts save their work, because AWS reclaims a node."""
        for other, channel in list(self.channels.items()):
            if other != rank:
                channel.send(say="warn", rank=rank)
        if rank:
            self.warn(rank)

    def is_over(self) -> bool:
        """Return whether the job has ended on all nodes that answer."""
        since_s = time.monotonic() - self.decided_s
        ended = len({*self.ends, *self.gone}) == len(self.group.names)
        told = since_s > SILENT_S and all(rank in self.ends for rank in self.channels)
        return self.verdict is not None and (ended or told or since_s > LAST_S)

    def settle(self, _: Ending) -> Ending:
        """Return how the job ended, with the exit code of each part."""
        codes = [self.ends[rank].exit_code if rank in self.ends else None for rank in (0, *self.others)]
        if self.verdict and not self.verdict.failed:  # those that served node 0 were ended
            codes = [0 for _ in codes]
        return (self.verdict or Ending(None, interrupted=True))._replace(exit_codes=codes)
