"""The client of the agent: every command of the agent as a function on an open connection."""

import base64
import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from fabric import Connection

from infra.errors import NodeError, NotFoundError
from infra.model import GpuUse, Job, JobUse, NodeUse, Output
from infra.ssh.connection import Conversation, execute, stream

AGENT = Path(__file__).parent / "agent"
FOLDER = ".gpujob"
START = "from agent.commands import main\nmain()\n"
TIMES = ("submitted_at", "started_at", "stalled_at", "ended_at")
CLOCKS_AGREE_S = 5.0  # an answer may take as long as that
# What python3 says when the file it was given is not there.
MISSING = 2


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
    script = 'mkdir -p -m 700 "$1" && cat > "$2.$$" && mv "$2.$$" "$2"'
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
    except ValueError as error:
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

    answer = call(connection, "submit", converse=converse)
    return int(answer["job"]), int(answer["ahead"])


def read_missing(line: bytes) -> list[str]:
    """Return the hashes that the agent asks for; raises NodeError for an answer that is none."""
    try:
        return [str(sha256) for sha256 in json.loads(line)["missing"]]
    except (ValueError, KeyError, TypeError) as error:
        raise NodeError(f"the agent answered nonsense: {line[:200]!r}") from error


def list_jobs(connection: Connection) -> tuple[Job, ...]:
    """Return every job of the node, in order."""
    return tuple(make_job(record) for record in call(connection, "jobs"))


def find_job(connection: Connection, number: int | None = None) -> Job:
    """Return one job, or the latest; raises NotFoundError."""
    if number is not None:
        return make_job(call(connection, "jobs", str(number))[0])
    jobs = list_jobs(connection)
    if not jobs:
        raise NotFoundError("there is no job yet", "gpujob run train.py")
    return jobs[-1]


def cancel(connection: Connection, number: int) -> Job:
    """End a job and every process of it; return it as it is then."""
    return make_job(call(connection, "cancel", str(number)))


def read_log(connection: Connection, number: int, offset: int, follow: bool) -> Iterator[bytes]:
    """Yield the log's bytes from `offset` on; with `follow` until the job is over."""
    arguments = ["logs", str(number), str(offset), *(["--follow"] if follow else [])]
    return stream(connection, agent_argv(*arguments))


def find_tail(connection: Connection, number: int, lines: int) -> int:
    """Return the offset at which the log's last `lines` lines begin."""
    return int(call(connection, "tail", str(number), str(lines))["offset"])


def list_outputs(
    connection: Connection, number: int, settled: bool = False
) -> tuple[Job, tuple[Output, ...], tuple[str, ...]]:
    """Return a job, what it created or changed, and the paths that the agent may not read; no name is trusted.

    With `settled` only what is whole, though the job runs.
    """
    answer = call(connection, "outputs", str(number), *(["--settled"] if settled else []))
    outputs = tuple(
        Output(o["path"], int(o["size_bytes"]), o["sha256"], int(o["mode"]), o["link"]) for o in answer["outputs"]
    )
    return make_job(answer["job"]), outputs, tuple(answer["unreadable"])


def look(connection: Connection, over: int) -> NodeUse:
    """Return what the node and its jobs do now: all that are not over, and the latest `over` of the others."""
    answer = call(connection, "look", str(over))
    try:
        jobs = tuple(JobUse(**{**each, "job": make_job(each["job"])}) for each in answer["jobs"])
        return NodeUse(**{**answer, "gpus": tuple(GpuUse(**gpu) for gpu in answer["gpus"]), "jobs": jobs})
    except (TypeError, KeyError) as error:
        raise NodeError(f"the agent answered nonsense: {answer!r}"[:300]) from error


def mark_fetched(connection: Connection, number: int) -> None:
    """Tell the agent that every output is home."""
    call(connection, "fetched", str(number))


def probe(connection: Connection) -> dict[str, Any]:
    """Return what the node is: python, driver, gpus, multiplied."""
    return dict(call(connection, "probe"))


def make_job(record: Mapping[str, Any]) -> Job:
    """Return the job that the agent's record tells of, its times by this laptop's clock: a node's may be an hour off."""
    try:
        fields = dict(record)
        ahead_s = fields.pop("now") - time.time()
        if abs(ahead_s) > CLOCKS_AGREE_S:
            fields.update({at: fields[at] - ahead_s for at in TIMES if fields[at] is not None})
        return Job(**{**fields, "command": tuple(record["command"]), "gpus": tuple(record["gpus"])})
    except (TypeError, KeyError, ValueError) as error:
        raise NodeError(f"the agent answered nonsense: {record!r}"[:300]) from error
