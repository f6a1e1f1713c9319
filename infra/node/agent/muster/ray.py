"""Run a job with Ray: the head and the job's command on node 0, a worker on each other node.

This program is the command of each part. Whatever Ray starts is below it, so that it ends with the job, as everything does
that a job starts. Ray itself would take 30 s and longer to stop: it is killed, once the command has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from .. import trees
from ..processes import adopt_orphans, end_descendants
from ..records import RAY_SESSIONS, AgentError
from .port import choose_port

LOG = "start.log"
LINKS = "/tmp/gpujob-ray-"  # noqa: S108  a link: a socket's path has at most 107 characters, and Ray adds 62
HEAD_S, POLL_S = 300.0, 0.2
# Ray's client server has a fixed port, and may be given another one only where it is installed.
PROBE = """
import importlib.util as u, json
print(json.dumps([bool(u.find_spec("ray")), bool(u.find_spec("grpc"))]))
"""
START = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
WAIT = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(0.2)
"""
STARTED, EARLY = "Ray runtime started", "head node|GCS|gcs"
MISSING = "Ray is not installed on this node; add ray to requirements.txt or pyproject.toml, then rerun"
MISMATCH = "Ray or Python has another version here than on node 0; pin it in requirements.txt, as in ray==2.60.0"


class Part(NamedTuple):
    """One node of Ray's cluster, as the job's variables describe it."""

    rank: int
    nodes: int
    address: str
    head: str
    port: int
    gpus: int
    python: str
    folder: Path
    modules: str
    """Where Ray's workers find modules, which is where the command does."""


def launch(folder: str, *command: str) -> None:
    """Run Ray on this node, and on node 0 the command, with whose code it exits; raises AgentError."""
    adopt_orphans()
    signal.signal(signal.SIGTERM, leave)
    part = read_part(Path(folder), command)
    place = make_place(part.folder)
    try:
        has_ray, has_client = json.loads(subprocess.check_output([part.python, "-c", PROBE]))
        if not has_ray:
            raise AgentError(MISSING)
        if part.rank:
            follow(part, place)
        code = lead(part, place, command, has_client)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the job's end has begun, or begins now
        end_descendants({}, signal.SIGKILL)
        clear(part.folder)
    sys.exit(code)


def read_part(folder: Path, command: tuple[str, ...]) -> Part:
    """Return this node's part; a job on one node has no variables about others."""
    rank = int(os.environ.get("GPUJOB_NODE_RANK", "0"))
    addresses = os.environ.get("GPUJOB_NODE_ADDRESSES", "127.0.0.1").split(",")
    gpus = len(list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))))
    port = int(os.environ.get("MASTER_PORT", "0")) or choose_port(addresses[0])
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    script = [str(Path(word).parent.resolve()) for word in command if word.endswith(".py") and Path(word).is_file()]
    modules = [*script[:1], str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    python = os.environ["GPUJOB_PYTHON"]
    return Part(
        rank, len(addresses), addresses[rank], addresses[0], port, gpus, python, folder, os.pathsep.join(modules)
    )


def leave(*_: Any) -> None:
    """End with the exit code of a process that SIGTERM has ended."""
    sys.exit(128 + signal.SIGTERM)


def make_place(folder: Path) -> Path:
    """Return a short path to a new folder for Ray's sessions in the job's folder; raises AgentError."""
    clear(folder)
    (folder / RAY_SESSIONS).mkdir(mode=0o700)
    link = link_to(folder)
    try:
        link.symlink_to(folder / RAY_SESSIONS)
    except OSError as error:
        raise AgentError(f"cannot create {link}: {error.strerror}") from error
    return link


def link_to(folder: Path) -> Path:
    """Return the name of the link to a job's folder for Ray."""
    return Path(LINKS + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12])


def clear(folder: Path) -> None:
    """Remove a job's folder for Ray, and the link to it."""
    link = link_to(folder)
    with contextlib.suppress(OSError):
        if os.readlink(link) == str(folder / RAY_SESSIONS):
            link.unlink()
    trees.remove(folder / RAY_SESSIONS)


def start(part: Part, place: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start Ray on this node, in the foreground. All ports but the head's are the kernel's choice."""
    chosen = choose_port(part.address)
    limits = (f"--num-gpus={part.gpus}", "--min-worker-port=0", "--max-worker-port=0")
    own = (f"--node-ip-address={part.address}", f"--dashboard-agent-listen-port={chosen}", f"--temp-dir={place}")
    with (part.folder / RAY_SESSIONS / LOG).open("ab") as log:
        return subprocess.Popen(
            [part.python, "-c", START, "start", "--block", "--disable-usage-stats", *limits, *own, *words],
            env={**os.environ, "PYTHONPATH": part.modules},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def lead(part: Part, place: Path, command: tuple[str, ...], has_client: bool) -> int:
    """Run the head, wait for all nodes, run the command; return its exit code. Raises AgentError."""
    client = [f"--ray-client-server-port={choose_port(part.address)}"] * has_client
    dashboard = ("--include-dashboard=false", f"--dashboard-port={choose_port(part.address)}")
    head = start(part, place, "--head", f"--port={part.port}", *dashboard, *client)
    address = f"{part.head}:{part.port}"
    wait_for_head(part, head)
    waiting = subprocess.Popen(
        [part.python, "-c", WAIT, address, str(part.nodes)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watch(waiting, part, head)
    if waiting.returncode:
        raise AgentError(f"Ray did not answer on node 0: {last_line(part)}")
    running = subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": address})
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))  # the command has got it too, and may save its work
    ending: list[bool] = []
    watch(running, part, head, ending)
    return running.returncode if running.returncode >= 0 else 128 - running.returncode


def watch(process: subprocess.Popen[bytes], part: Part, ray: subprocess.Popen[bytes], ending: Any = ()) -> None:
    """Wait for a process; raises AgentError if Ray ends before it, unless the job is `ending`."""
    while process.poll() is None:
        if ray.poll() is not None and not ending:
            raise AgentError(f"Ray ended on node {part.rank}: {last_line(part)}")
        time.sleep(POLL_S)


def follow(part: Part, place: Path) -> None:
    """Run a worker until the job ends, which SIGTERM says; raises AgentError if the worker ends before."""
    deadline = time.monotonic() + HEAD_S
    wait_for_head(part, None)
    while True:
        start(part, place, f"--address={part.head}:{part.port}").wait()
        said = read_log(part)
        if "ersion mismatch" in said:
            raise AgentError(MISMATCH)
        # The head accepts connections before it knows of its own node; a worker that comes then gives up.
        if STARTED in said or not re.search(EARLY, said) or time.monotonic() > deadline:
            raise AgentError(f"Ray ended on node {part.rank}: {last_line(part)}")
        end_descendants({}, signal.SIGKILL)
        time.sleep(1)


def wait_for_head(part: Part, head: subprocess.Popen[bytes] | None) -> None:
    """Wait until Ray's head accepts connections; raises AgentError if it has ended, or takes too long."""
    deadline = time.monotonic() + HEAD_S
    while time.monotonic() < deadline:
        if head and head.poll() is not None:
            raise AgentError(f"Ray did not start on node 0: {last_line(part)}")
        with contextlib.suppress(OSError), socket.create_connection((part.head, part.port), timeout=5):
            return
        time.sleep(POLL_S)
    raise AgentError(f"Ray's head does not answer at {part.head}:{part.port}")


def read_log(part: Part) -> str:
    """Return what Ray has printed on this node."""
    return (part.folder / RAY_SESSIONS / LOG).read_text(encoding="utf-8", errors="replace")


def last_line(part: Part) -> str:
    """Return the last line that Ray has printed on this node."""
    return next(filter(None, map(str.strip, reversed(read_log(part).splitlines()))), "it printed nothing")[:300]
