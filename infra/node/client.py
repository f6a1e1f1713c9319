"""The client of the agent: every command of the agent as a function on an open connection."""

import base64
import errno
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, BinaryIO

from infra.base.decoding import decode, parse
from infra.base.text import last_line, one_line
from infra.errors import NodeError, NotFoundError
from infra.model import Job, NodeUse
from infra.node.listing import AllLeft, JobReply, Outputs
from infra.node.packing import CHANGED, agent_argv, install_agent, write
from infra.ssh.commands import Conversation, execute, stream
from infra.ssh.connection import Connection

TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
CLOCKS_AGREE_S = 5.0  # an answer may take as long as that
NOTEBOOK = ("gpujob", "notebook")
LINE_BYTES = 1 << 16  # of a line that a program on the node prints
ASKED_BYTES = 64 << 20  # of the hashes that it lacks: a million files
Port = Annotated[int, range(65536)]
Token = Annotated[str, re.compile(r"[0-9A-Za-z_-]{0,512}")]


@dataclass(frozen=True)
class MissingReply:
    """What the agent answers to a submission first: the hashes of what it lacks."""

    missing: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """How large the disk of a node is, and how much of it is free."""

    disk_bytes: int
    disk_free_bytes: int


@dataclass(frozen=True)
class SubmitReply(Space):
    """What it answers then: the job's number, how many are ahead of it, and the space left on the disk."""

    job: int
    ahead: int


@dataclass(frozen=True)
class Tail:
    """Where the last lines of a log begin."""

    offset: int


@dataclass(frozen=True)
class Probe:
    """What a node is, and whether its GPU has multiplied two matrices; None where there is none."""

    python: str
    driver: str
    gpus: tuple[str, ...]
    multiplied: bool | None


@dataclass(frozen=True)
class NotebookReply:
    """The notebook of a node: its job, 0 where none runs; the port it listens on, 0 until it does; its token."""

    job: int
    port: Port
    token: Token = field(repr=False)
    said: str
    """The last line it printed (from the node: not trusted)."""


@dataclass(frozen=True)
class TensorBoardReply:
    """The port that TensorBoard listens on."""

    port: Port


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
        raise NotFoundError(last_line(answer.stderr), "gpujob jobs")
    if answer.exit_code:
        said = last_line(answer.stderr) or f"exit code {answer.exit_code}"
        hint = "gpujob jobs rm --done frees disk space" if os.strerror(errno.ENOSPC) in said else "gpujob jobs"
        raise NodeError(f"the agent failed: {said}", hint)
    return parse(answer.stdout) if answer.stdout else None


def submit(
    connection: Connection, request: Mapping[str, Any], pack: Callable[[BinaryIO, Sequence[str]], None]
) -> SubmitReply:
    """Submit a job; return its number, and what else there is to say of it.

    `pack` is called with a stream to write to and the hashes of those files that the node lacks.
    """
    line = base64.b64encode(zlib.compress(json.dumps(request).encode(), 1)) + b"\n"

    def converse(stdin: BinaryIO, stdout: BinaryIO) -> None:
        write(stdin, line)
        asked = stdout.readline(ASKED_BYTES)
        if asked:  # else it has ended, and says why on stderr
            pack(stdin, read_missing(asked))
            stdin.flush()

    return decode(SubmitReply, call(connection, "submit", converse=converse))


def read_missing(line: bytes) -> tuple[str, ...]:
    """Return the hashes that the agent asks for; raises NodeError for an answer that is none."""
    return decode(MissingReply, parse(line)).missing


def list_jobs(connection: Connection) -> tuple[Job, ...]:
    """Return every job of the node, in order."""
    return tuple(map(in_our_time, decode(tuple[JobReply, ...], call(connection, "jobs"))))


def find_job(connection: Connection, number: int | None = None) -> Job:
    """Return one job, or the latest; raises NotFoundError."""
    if number is not None:
        jobs = tuple(map(in_our_time, decode(tuple[JobReply, ...], call(connection, "jobs", str(number)))))
    else:
        jobs = list_jobs(connection)
    if not jobs:
        raise NotFoundError("there is no job yet", "gpujob run train.py")
    return jobs[-1]


def cancel(connection: Connection, number: int) -> Job:
    """End a job and every process of it; return it as it is then."""
    return in_our_time(decode(JobReply, call(connection, "cancel", str(number))))


def read_log(connection: Connection, number: int, offset: int, follow: bool) -> Iterator[bytes]:
    """Yield the log's bytes from `offset` on; with `follow` until the job is over."""
    arguments = ["logs", str(number), str(offset), *(["--follow"] if follow else [])]
    return stream(connection, agent_argv(*arguments))


def find_tail(connection: Connection, number: int, lines: int) -> int:
    """Return the offset at which the log's last `lines` lines begin."""
    return decode(Tail, call(connection, "tail", str(number), str(lines))).offset


def find_since(connection: Connection, number: int, ago_s: float) -> int:
    """Return an offset behind which lies all that the job printed in the last so many seconds."""
    return decode(Tail, call(connection, "since", str(number), f"{ago_s:.0f}")).offset


def list_outputs(
    connection: Connection, number: int, settled: bool = False, asked: Sequence[str] = ()
) -> tuple[Job, Outputs]:
    """Return a job and what it created or changed, with what lies elsewhere and was `asked` for; no name is trusted.

    With `settled` only what is whole, though the job runs.
    """
    words = [*(["--settled"] if settled else []), *(f"--output={path}" for path in asked)]
    told = decode(Outputs, call(connection, "outputs", str(number), *words))
    if told.job.number != number:  # its outputs would be taken for those of another job
        raise NodeError(f"the agent was asked for job {number} and answered with job {told.job.number}", "gpujob jobs")
    return in_our_time(told.job), told


def list_left(connection: Connection) -> AllLeft:
    """Return what the jobs of a node left outside of their working trees."""
    return decode(AllLeft, call(connection, "left"))


def look(connection: Connection, over: int) -> NodeUse:
    """Return what the node and its jobs do now: all that are not over, and the latest `over` of the others."""
    use = decode(NodeUse, call(connection, "look", str(over)))
    return replace(use, jobs=tuple(replace(each, job=shift(each.job, use.now)) for each in use.jobs))


def find_page(connection: Connection) -> NotebookReply:
    """Return the notebook that the node has now."""
    return decode(NotebookReply, call(connection, "page"))


def serve_board(connection: Connection, number: int | None) -> Iterator[str | int]:
    """Run TensorBoard on a job's folder, or on all, for as long as the caller goes on; yield what it says, then its port."""
    rest = b""
    for chunk in stream(connection, agent_argv("tensorboard", *([] if number is None else [str(number)]))):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield decode(TensorBoardReply, parse(line)).port if line.startswith(b'{"port"') else one_line(line)


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


def in_our_time(told: JobReply) -> Job:
    """Return the job that the agent tells of."""
    fields = {name: value for name, value in vars(told).items() if name != "now"}
    return shift(Job(**fields), told.now)


def shift(job: Job, now: float) -> Job:
    """Return a job with its times by this laptop's clock, when it is `now` on the node: that one may be an hour off."""
    ahead_s = now - time.time()
    if abs(ahead_s) <= CLOCKS_AGREE_S:
        return job
    times = {name: getattr(job, name) for name in TIMES}
    # A calendar knows no time long before 1970, and a node may say that it is the year 5000 there.
    return replace(job, **{name: max(at - ahead_s, 0.0) for name, at in times.items() if at is not None})
