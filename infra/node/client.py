"""The client of the agent: every command of the agent as a function on an open connection."""

import base64
import errno
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from fabric import Connection

from infra.errors import NodeError, NotFoundError
from infra.model import Job, NodeUse, Output
from infra.node.decoding import decode
from infra.node.packing import CHANGED, write
from infra.node.packing import agent_argv as agent_argv
from infra.node.packing import install_agent as install_agent
from infra.node.packing import pack_agent as pack_agent
from infra.ssh.connection import Conversation, execute, stream

TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
CLOCKS_AGREE_S = 5.0  # an answer may take as long as that
NOTEBOOK = ("gpujob", "notebook")


@dataclass(frozen=True)
class Asked:
    """What the agent answers to a submission first: the hashes of what it lacks."""

    missing: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """What it answers then: the job's number, and how many are ahead of it."""

    job: int
    ahead: int


@dataclass(frozen=True)
class Tail:
    """Where the last lines of a log begin."""

    offset: int


@dataclass(frozen=True, kw_only=True)
class Told(Job):
    """A job as the agent tells it, with the node's own time."""

    now: float


@dataclass(frozen=True)
class Outputs:
    """A job, what it created or changed, and the paths that the agent may not read."""

    job: Told
    outputs: tuple[Output, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """What a node is, and whether its GPU has multiplied two matrices; None where there is none."""

    python: str
    driver: str
    gpus: tuple[str, ...]
    multiplied: bool | None


@dataclass(frozen=True)
class Page:
    """The notebook of a node: its job, 0 where none runs; the port it listens on, 0 until it does; its token."""

    job: int
    port: int
    token: str = field(repr=False)
    said: str
    """The last line it printed (from the node: not trusted)."""


@dataclass(frozen=True)
class Board:
    """The port that TensorBoard listens on."""

    port: int


@dataclass(frozen=True)
class Space:
    """How large the disk of a node is, and how much of it is free."""

    disk_bytes: int
    disk_free_bytes: int


@dataclass(frozen=True)
class Freed:
    """How much room a removal made."""

    freed_bytes: int


def call(connection: Connection, *arguments: str, converse: Conversation | None = None) -> Any:
    """Return the agent's answer to one command; the agent is installed first unless the node has this version, unchanged."""
    answer = execute(connection, agent_argv(*arguments), converse)
    if answer.exit_code == CHANGED:
        install_agent(connection)
        answer = execute(connection, agent_argv(*arguments), converse)
    if answer.exit_code == 3:
        raise NotFoundError(answer.stderr.decode(errors="replace").strip(), "gpujob jobs")
    if answer.exit_code:
        said = answer.stderr.decode(errors="replace").strip()[-2000:]
        hint = "gpujob jobs rm --done frees disk space" if os.strerror(errno.ENOSPC) in said else "gpujob jobs"
        raise NodeError(f"the agent failed: {said}", hint)
    try:
        return json.loads(answer.stdout) if answer.stdout else None
    except (ValueError, RecursionError) as error:
        raise NodeError(f"the agent answered nonsense: {answer.stdout[:200]!r}") from error


def submit(
    connection: Connection, request: Mapping[str, Any], pack: Callable[[BinaryIO, Sequence[str]], None]
) -> tuple[int, int]:
    """Hand in a job; return its number and how many jobs are ahead of it.

    `pack` is called with a stream to write to and the hashes of those files that the node lacks.
    """
    line = base64.b64encode(zlib.compress(json.dumps(request).encode(), 1)) + b"\n"

    def converse(stdin: BinaryIO, stdout: BinaryIO) -> None:
        write(stdin, line)
        asked = stdout.readline()
        if asked:  # else it has ended, and says why on stderr
            pack(stdin, read_missing(asked))
            stdin.flush()

    taken = decode(Taken, call(connection, "submit", converse=converse))
    return taken.job, taken.ahead


def read_missing(line: bytes) -> tuple[str, ...]:
    """Return the hashes that the agent asks for; raises NodeError for an answer that is none."""
    try:
        return decode(Asked, json.loads(line)).missing
    except (ValueError, RecursionError) as error:
        raise NodeError(f"the agent answered nonsense: {line[:200]!r}") from error


def list_jobs(connection: Connection) -> tuple[Job, ...]:
    """Return every job of the node, in order."""
    return tuple(map(in_our_time, decode(tuple[Told, ...], call(connection, "jobs"))))


def find_job(connection: Connection, number: int | None = None) -> Job:
    """Return one job, or the latest; raises NotFoundError."""
    if number is not None:
        jobs = tuple(map(in_our_time, decode(tuple[Told, ...], call(connection, "jobs", str(number)))))
    else:
        jobs = list_jobs(connection)
    if not jobs:
        raise NotFoundError("there is no job yet", "gpujob run train.py")
    return jobs[-1]


def cancel(connection: Connection, number: int) -> Job:
    """End a job and every process of it; return it as it is then."""
    return in_our_time(decode(Told, call(connection, "cancel", str(number))))


def read_log(connection: Connection, number: int, offset: int, follow: bool) -> Iterator[bytes]:
    """Yield the log's bytes from `offset` on; with `follow` until the job is over."""
    arguments = ["logs", str(number), str(offset), *(["--follow"] if follow else [])]
    return stream(connection, agent_argv(*arguments))


def find_tail(connection: Connection, number: int, lines: int) -> int:
    """Return the offset at which the log's last `lines` lines begin."""
    return decode(Tail, call(connection, "tail", str(number), str(lines))).offset


def find_since(connection: Connection, number: int, ago_s: float) -> int:
    """Return an offset behind which lies all that the job printed in the last so many seconds."""
    return int(call(connection, "since", str(number), f"{ago_s:.0f}")["offset"])


def list_outputs(
    connection: Connection, number: int, settled: bool = False
) -> tuple[Job, tuple[Output, ...], tuple[str, ...]]:
    """Return a job, what it created or changed, and the paths that the agent may not read; no name is trusted.

    With `settled` only what is whole, though the job runs.
    """
    answer = call(connection, "outputs", str(number), *(["--settled"] if settled else []))
    told = decode(Outputs, answer)
    return in_our_time(told.job), told.outputs, told.unreadable


def look(connection: Connection, over: int) -> NodeUse:
    """Return what the node and its jobs do now: all that are not over, and the latest `over` of the others."""
    use = decode(NodeUse, call(connection, "look", str(over)))
    return replace(use, jobs=tuple(replace(each, job=shift(each.job, use.now)) for each in use.jobs))


def find_page(connection: Connection) -> Page:
    """Return the notebook that the node has now."""
    return decode(Page, call(connection, "page"))


def serve_board(connection: Connection, number: int | None) -> Iterator[str | int]:
    """Run TensorBoard on a job's folder, or on all, for as long as the caller goes on; yield what it says, then its port."""
    rest = b""
    for chunk in stream(connection, agent_argv("tensorboard", *([] if number is None else [str(number)]))):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield decode(Board, json.loads(line)).port if line.startswith(b'{"port"') else line.decode(errors="replace")


def mark_fetched(connection: Connection, number: int) -> None:
    """Tell the agent that every output is home."""
    call(connection, "fetched", str(number))


def remove_jobs(connection: Connection, numbers: Sequence[int], force: bool) -> int:
    """Remove jobs that are over, and unless it is forced downloaded, from the node; return how many bytes that freed."""
    words = [*map(str, numbers), *(["--force"] if force else [])]
    return decode(Freed, call(connection, "remove", *words)).freed_bytes


def remove_changed_environments(connection: Connection) -> None:
    """Remove from the node the installed dependencies that are not, or no longer, what was installed."""
    call(connection, "sift")


def find_space(connection: Connection) -> Space:
    """Return how large the node's disk is and how much of it is free."""
    return decode(Space, call(connection, "space"))


def probe(connection: Connection) -> dict[str, Any]:
    """Return what the node is: python, driver, gpus, multiplied."""
    return vars(decode(Probe, call(connection, "probe")))


def in_our_time(told: Told) -> Job:
    """Return the job that the agent tells of."""
    fields = {name: value for name, value in vars(told).items() if name != "now"}
    return shift(Job(**fields), told.now)


def shift(job: Job, now: float) -> Job:
    """Return a job with its times by this laptop's clock, when it is `now` on the node: that one may be an hour off."""
    ahead_s = now - time.time()
    if abs(ahead_s) <= CLOCKS_AGREE_S:
        return job
    times = {name: getattr(job, name) for name in TIMES}
    return replace(job, **{name: at - ahead_s for name, at in times.items() if at is not None})
