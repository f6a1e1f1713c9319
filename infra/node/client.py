"""The agent's client: each of its commands as a function on an open connection."""

import base64
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, BinaryIO, Protocol

from infra.base.decoding import decode, parse
from infra.base.text import one_line
from infra.errors import NodeError, NotFoundError
from infra.model import Job, NodeUse
from infra.node.attached import AttachedTerminal
from infra.node.calls import call, start_of
from infra.node.listing import AllLeft, JobReply, Outputs, update
from infra.node.packing import agent_argv, write
from infra.ssh.commands import Send, stream
from infra.ssh.connection import Connection

TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
CLOCKS_AGREE_S = 5.0  # a response may take this long
NOTEBOOK = ("gpujob", "notebook")
LINE_BYTES = 1 << 16  # of a line printed by a program on the node
ASKED_BYTES = 64 << 20  # of the missing hashes: a million files
Port = Annotated[int, range(65536)]
Token = Annotated[str, re.compile(r"[0-9A-Za-z_-]{0,512}")]
JobNumber = int | str
"""A job's number, or that of a task of an array: 12.17."""
Pack = Callable[[BinaryIO, Sequence[str]], None]
"""Writes the contents with these hashes to a stream."""


@dataclass(frozen=True)
class MissingReply:
    """The agent's first reply to a submission: the hashes of missing files."""

    missing: tuple[str, ...]
    unknown: bool = False
    """Whether the referenced list is unknown to it, so that the request must be repeated in full."""


class Listed(Protocol):
    """The fields of a request that list the files of a project."""

    @property
    def whole(self) -> Mapping[str, Any]:
        """All of the list."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """Its difference to an earlier one."""


@dataclass(frozen=True)
class Space:
    """The size and free space of a node's disk."""

    disk_bytes: int
    disk_free_bytes: int
    upload_fault: str = field(default="", kw_only=True)
    """Why it cannot upload to its bucket; "" if it can."""


@dataclass(frozen=True)
class SubmitReply(Space):
    """Its second reply: the job's number, how many jobs are ahead of it, and the disk space."""

    job: int
    ahead: int
    port: Port = 0
    """Where part 0 of a job over several nodes listens for the others."""


@dataclass(frozen=True)
class Tail:
    """The offset of the last lines of a log."""

    offset: int


@dataclass(frozen=True)
class Probe:
    """A description of a node, and whether its GPU has multiplied two matrices; None without a GPU."""

    python: str
    driver: str
    gpus: tuple[str, ...]
    multiplied: bool | None


@dataclass(frozen=True)
class NotebookReply:
    """A node's notebook: its job, or 0; its port, 0 until it listens; its token."""

    job: int
    port: Port
    token: Token = field(repr=False)
    said: str
    """The last line it printed (from the node, not trusted)."""


@dataclass(frozen=True)
class TensorBoardReply:
    """The port that TensorBoard listens on."""

    port: Port


@dataclass(frozen=True)
class Freed:
    """The space freed by a removal."""

    freed_bytes: int


def submit(
    connection: Connection,
    request: Mapping[str, Any],
    files: Listed,
    pack: Pack,
) -> SubmitReply:
    """Submit a job; return the agent's reply. `pack` writes the contents that the node misses."""

    def converse(stdin: BinaryIO, stdout: BinaryIO) -> None:
        write(stdin, encode({**request, **files.changes}))
        asked = stdout.readline(ASKED_BYTES)
        if asked and read_missing(asked).unknown:
            write(stdin, encode({**request, **files.whole}))
            asked = stdout.readline(ASKED_BYTES)
        if asked:  # otherwise it has ended, and stderr says why
            pack(stdin, read_missing(asked).missing)
            stdin.flush()

    return decode(SubmitReply, call(connection, "submit", converse=converse))


def encode(request: Mapping[str, Any]) -> bytes:
    """Return a request as one line."""
    return base64.b64encode(zlib.compress(json.dumps(request).encode(), 1)) + b"\n"


def read_missing(line: bytes) -> MissingReply:
    """Return the agent's first reply to a submission; raises NodeError for an invalid response."""
    return decode(MissingReply, parse(line))


def list_jobs(connection: Connection) -> tuple[Job, ...]:
    """Return all jobs of the node, in order."""
    return tuple(map(in_our_time, decode(tuple[JobReply, ...], call(connection, "jobs"))))


def find_job(connection: Connection, number: JobNumber | None = None) -> Job:
    """Return a job, by default the latest; raises NotFoundError."""
    word = "--last" if number is None else str(number)
    jobs = tuple(map(in_our_time, decode(tuple[JobReply, ...], call(connection, "jobs", word))))
    if not jobs:
        raise NotFoundError("no jobs yet", "run one: gpujob run SCRIPT")
    return jobs[-1]


def cancel(connection: Connection, number: JobNumber) -> Job:
    """End a job and all its processes, or a task of an array; return it."""
    return in_our_time(decode(JobReply, call(connection, "cancel", str(number))))


def read_log(connection: Connection, number: JobNumber, offset: int) -> Iterator[bytes]:
    """Yield the current log from `offset`."""
    return stream(connection, agent_argv("logs", str(number), str(offset)))


def follow_log(
    connection: Connection,
    number: JobNumber,
    offset: int,
    write: Callable[[bytes], None],
    terminal: AttachedTerminal | None,
) -> Job:
    """Pass the log from `offset` to `write`, and what is typed to the job, until it ends; return it."""
    words = ["attach", str(number), str(offset)] if terminal else ["logs", str(number), str(offset), "--follow"]
    argv, line = start_of(connection, words)

    def offer(send: Send) -> None:
        send(line)
        if terminal:
            terminal.lead(send)

    said = bytearray()
    for chunk in stream(connection, argv, offer, said.extend):
        write(chunk)
    return in_our_time(decode(JobReply, parse(bytes(said)))) if said else find_job(connection, number)


def find_tail(connection: Connection, number: JobNumber, lines: int) -> int:
    """Return the offset of the log's last `lines` lines."""
    return decode(Tail, call(connection, "tail", str(number), str(lines))).offset


def find_since(connection: Connection, number: JobNumber, ago_s: float) -> int:
    """Return an offset before everything that the job printed in the last `ago_s` seconds."""
    return decode(Tail, call(connection, "since", str(number), f"{ago_s:.0f}")).offset


def list_outputs(
    connection: Connection,
    number: int,
    settled: bool = False,
    asked: Sequence[str] = (),
    before: Outputs | None = None,
) -> tuple[Job, Outputs]:
    """Return a job and its outputs, including the `asked` paths elsewhere; no name is trusted.

    With `settled`, only complete files of a running job. With an earlier listing, only what has changed since then is sent.
    """
    words = [*(["--settled"] if settled else []), *(f"--output={path}" for path in asked)]
    words += [f"--since={before.token}"] if before and before.token else []
    reply = decode(Outputs, call(connection, "outputs", str(number), *words))
    if reply.job.number != number:  # its outputs would be saved as those of another job
        raise NodeError(
            f"invalid response from the agent: job {reply.job.number} instead of job {number}", "gpujob jobs"
        )
    return in_our_time(reply.job), update(before, reply)


def list_left(connection: Connection) -> AllLeft:
    """Return what the jobs of a node left outside their working trees."""
    return decode(AllLeft, call(connection, "left"))


def look(connection: Connection, over: int) -> NodeUse:
    """Return the current use of the node by its unfinished jobs and the latest `over` ended ones."""
    use = decode(NodeUse, call(connection, "look", str(over)))
    return replace(use, jobs=tuple(replace(each, job=shift(each.job, use.now)) for each in use.jobs))


def find_page(connection: Connection) -> NotebookReply:
    """Return the node's current notebook."""
    return decode(NotebookReply, call(connection, "page"))


def serve_board(connection: Connection, number: int | None) -> Iterator[str | int]:
    """Run TensorBoard on one or all jobs while the caller iterates; yield its messages, then its port."""
    rest = b""
    for chunk in stream(connection, agent_argv("tensorboard", *([] if number is None else [str(number)]))):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield decode(TensorBoardReply, parse(line)).port if line.startswith(b'{"port"') else one_line(line)


def mark_fetched(connection: Connection, number: int) -> None:
    """Mark a job's outputs as downloaded on the node."""
    call(connection, "fetched", str(number))


def remove_jobs(connection: Connection, numbers: Sequence[int], force: bool) -> int:
    """Remove ended jobs, which must be downloaded unless forced, from the node; return the freed bytes."""
    words = [*map(str, numbers), *(["--force"] if force else [])]
    return decode(Freed, call(connection, "remove", *words)).freed_bytes


def remove_changed_environments(connection: Connection) -> None:
    """Remove environments from the node that are incomplete or were modified."""
    call(connection, "sift")


def find_space(connection: Connection) -> Space:
    """Return the size and free space of the node's disk, and whether it uploads."""
    return decode(Space, call(connection, "space"))


def probe(connection: Connection) -> dict[str, Any]:
    """Return a description of the node: python, driver, gpus, multiplied."""
    return vars(decode(Probe, call(connection, "probe")))


def in_our_time(reply: JobReply) -> Job:
    """Return the job in a reply, with its times by the local clock."""
    fields = {name: value for name, value in vars(reply).items() if name != "now"}
    return shift(Job(**fields), reply.now)


def shift(job: Job, now: float) -> Job:
    """Return a job with its times by the local clock, given the node's time, which may be wrong."""
    if abs(now - time.time()) <= CLOCKS_AGREE_S:
        return job
    times: dict[str, Any] = {name: shift_time(getattr(job, name), now) for name in TIMES}
    return replace(job, **times)


def shift_time(at: float | None, now: float) -> float | None:
    """Return a time by the local clock, given the node's time."""
    ahead_s = now - time.time()
    if at is None or abs(ahead_s) <= CLOCKS_AGREE_S:
        return at
    # Times long before 1970 are not valid dates, and a node may claim that it is the year 5000.
    return max(at - ahead_s, 0.0)
