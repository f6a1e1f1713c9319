"""The client of the agent: every command of the agent as a function on an open connection."""

import base64
import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from fabric import Connection

from infra.errors import NodeError, NotFoundError
from infra.model import Job, NodeUse
from infra.node.decoding import decode
from infra.node.listing import AllLeft, Outputs, Told
from infra.ssh.connection import Conversation, execute, stream

AGENT = Path(__file__).parent / "agent"
FOLDER = ".gpujob"
START = "from agent.commands import main\nmain()\n"
TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
CLOCKS_AGREE_S = 5.0  # an answer may take as long as that
NOTEBOOK = ("gpujob", "notebook")
# What python3 says when the file it was given is not there.
MISSING = 2


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


@cache
def pack_agent() -> tuple[str, bytes]:
    """Return the agent as one file that Python runs, and its path on the node, which tells versions apart."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # ZipInfo without a time, so that the same code always makes the same bytes.
        archive.writestr(zipfile.ZipInfo("__main__.py"), START)
        for source in sorted(AGENT.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{source.name}"), source.read_bytes())
    return f"{FOLDER}/agent-{sha256(buffer.getvalue()).hexdigest()[:12]}.pyz", buffer.getvalue()


def install_agent(connection: Connection) -> None:
    """Put the agent on the node, whole or not at all."""
    path, content = pack_agent()
    # By the short name the machine itself finds it: the unit in its user data cannot know the version.
    script = 'mkdir -p -m 700 "$1" && cat > "$2.$$" && mv "$2.$$" "$2" && ln -sfn "${2##*/}" "$1/agent.pyz"'
    answer = execute(connection, ["sh", "-c", script, "sh", FOLDER, path], lambda stdin, _: write(stdin, content))
    if answer.exit_code:
        raise NodeError(f"the agent could not be put on the node: {answer.stderr.decode(errors='replace').strip()}")


def write(stdin: BinaryIO, content: bytes) -> None:
    """Write and flush."""
    stdin.write(content)
    stdin.flush()


def call(connection: Connection, *arguments: str, converse: Conversation | None = None) -> Any:
    """Return the agent's answer to one command; the agent is installed first if the node has not this version of it."""
    answer = execute(connection, agent_argv(*arguments), converse)
    if answer.exit_code == MISSING and b"can't open file" in answer.stderr:
        install_agent(connection)
        answer = execute(connection, agent_argv(*arguments), converse)
    if answer.exit_code == 3:
        raise NotFoundError(answer.stderr.decode(errors="replace").strip(), "gpujob jobs")
    if answer.exit_code:
        raise NodeError(f"the agent failed: {answer.stderr.decode(errors='replace').strip()[-2000:]}", "gpujob jobs")
    try:
        return json.loads(answer.stdout) if answer.stdout else None
    except (ValueError, RecursionError) as error:
        raise NodeError(f"the agent answered nonsense: {answer.stdout[:200]!r}") from error


def agent_argv(*arguments: str) -> list[str]:
    """Return the command line that runs the agent on the node."""
    # Without the site's packages, which it does not use and which cost it a quarter of its start.
    return ["python3", "-I", "-S", pack_agent()[0], *arguments]


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
    connection: Connection, number: int, settled: bool = False, asked: Sequence[str] = ()
) -> tuple[Job, Outputs]:
    """Return a job and what it created or changed, with what lies elsewhere and was `asked` for; no name is trusted.

    With `settled` only what is whole, though the job runs.
    """
    words = [*(["--settled"] if settled else []), *(f"--output={path}" for path in asked)]
    told = decode(Outputs, call(connection, "outputs", str(number), *words))
    return in_our_time(told.job), told


def list_left(connection: Connection) -> AllLeft:
    """Return what the jobs of a node left outside of their working trees."""
    return decode(AllLeft, call(connection, "left"))


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
