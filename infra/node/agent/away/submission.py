"""Submit an attempt to this machine's own agent: the request and the files come from the bucket."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Iterator

from ..aws.parameters import read_values
from ..book.tasks import fill_in, variables_of
from ..records import AgentError
from ..requests.submission import find_token
from ..snapshot.blocks import HEAD, Blocks
from .settings import FOLDER, Place, Sent
from .transfer import Part, fetch_part

FETCHING = threading.Lock()  # the project's files, which all tasks of a machine start from


def submit_attempt(place: Place, sent: Sent, task: int, attempt: int, restored: Path) -> int:
    """Return the number of the job that runs an attempt, with the files of `restored` in its project.

    Submitting the same attempt twice returns the same job. Raises AgentError.
    """
    key = place.key(sent.pack["key"])
    with FETCHING:
        pack = fetch_part(place.bucket, Part(key, 0, sent.pack["size_bytes"], sent.pack["sha256"]), FOLDER / "pack")
    request = {**make_request(sent, place.prefix, task, attempt), "secrets": fetch_secrets(place, sent)}
    line = base64.b64encode(zlib.compress(json.dumps(request).encode())) + b"\n"
    program = [sys.executable, "-I", "-S", sys.argv[0], "submit", str(restored)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101  for the type checker
        process.stdin.write(line)
        process.stdin.flush()
        answer = process.stdout.readline()
        if answer:
            with pack.open("rb") as content:
                for block in select(content, sent.contents, set(json.loads(answer)["missing"])):
                    process.stdin.write(block)
        out, complaint = process.communicate()
    if process.returncode:
        raise AgentError(complaint.decode(errors="replace").strip() or "the job was not accepted")
    return int(json.loads(out)["job"])


def fetch_secrets(place: Place, sent: Sent) -> dict[str, str]:
    """Return the values of the job's secrets; raises AgentError if one was deleted, and one of FAULTS."""
    if not sent.secrets:
        return {}
    found = read_values(place.service("ssm"), place.prefix, sent.secrets, place.bucket.wire.now_s())
    missing = [each for each in sent.secrets if each not in found]
    if missing:
        raise AgentError(f"the secret {missing[0]} is no longer in AWS's Parameter Store")
    return found


def find_submitted(place: Place, task: int, attempt: int) -> int | None:
    """Return the job that this machine runs for an attempt already; None if it does not."""
    return find_token(token_of(place.prefix, task, attempt))


def token_of(prefix: str, task: int, attempt: int) -> str:
    """Return what an attempt's job is submitted with, so that it is accepted once."""
    return f"{prefix}{task}/{attempt}"


def make_request(sent: Sent, prefix: str, task: int, attempt: int) -> dict[str, Any]:
    """Return the request of an attempt."""
    values = sent.values[task]
    own = {"GPUJOB_TASK": str(task), "GPUJOB_TASKS": str(sent.tasks), "GPUJOB_ATTEMPT": str(attempt)}
    about = {
        **sent.request,
        "env": {**own, **variables_of(values), **sent.request["env"]},
        "command": fill_in(sent.request["command"], values),
        "token": token_of(prefix, task, attempt),
    }
    return {**about, "gpus": 1, "slots": sent.places} if sent.array else about


def select(content: BinaryIO, contents: list[list[Any]], wanted: set[str]) -> Iterator[bytes]:
    """Yield the blocks of the wanted contents of a pack."""
    blocks = Blocks(content)
    for sha256, size_bytes in contents:
        for piece in blocks.read(size_bytes):
            if sha256 in wanted:
                yield HEAD.pack(0, len(piece)) + piece
