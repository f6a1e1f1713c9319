"""A real agent in a home of its own, to which the client talks over pipes: client and node are measured apart."""

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from infra.model import Cluster, Gpu, Job, Node
from infra.node import client
from infra.node.packing import agent_argv, install_agent, write
from infra.ssh.commands import execute
from infra.ssh.connection import Connection
from tests.agent_fixtures import request
from tests.bench.measure import BenchError

MACHINE = Node("i-growth", "running", "host", 22, "t", "z")
CLUSTER = Cluster("growth", "local", "here", (MACHINE,), Gpu("T4"), 0.5, 2e9, 1.7e9, "owner")
LIMIT_S = 300.0
POLL_S = 0.1


@dataclass(frozen=True)
class Spent:
    """The CPU seconds of the client, and of the agent's processes that have ended."""

    client_s: float
    node_s: float


def measure(action: Callable[[], object]) -> Spent:
    """Run something; return what it cost."""
    before = usage()
    action()
    after = usage()
    return Spent(after.client_s - before.client_s, after.node_s - before.node_s)


def usage() -> Spent:
    """Return what this process and its children have cost so far."""
    own, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Spent(own.ru_utime + own.ru_stime, theirs.ru_utime + theirs.ru_stime)


class Pipes:
    """An agent's process, with the methods of a channel that the client uses."""

    def __init__(self, home: Path, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=home,
            env={"HOME": str(home), "PATH": os.environ["PATH"], "GPUJOB_LOCAL_HOST": "growth"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr

    def settimeout(self, _: float | None) -> None:
        """Ignore time limits."""

    def send(self, data: bytes) -> int:
        """Write to its standard input."""
        return self.stdin.write(data) or 0

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        while data:
            data = data[self.send(data) :]

    def shutdown_write(self) -> None:
        """End its standard input."""
        self.stdin.close()

    def recv(self, count: int) -> bytes:
        """Read from its standard output."""
        return self.stdout.read(count) or b""

    def recv_stderr(self, count: int) -> bytes:
        """Read from its standard error."""
        return self.stderr.read(count) or b""

    def recv_exit_status(self) -> int:
        """Wait for its end."""
        return self.process.wait(LIMIT_S)


@dataclass(frozen=True)
class Machine:
    """A home with an agent in it, and its jobs."""

    home: Path

    @property
    def jobs(self) -> Path:
        """The folder of the jobs' records."""
        return self.home / ".gpujob/jobs"

    @property
    def connection(self) -> Connection:
        """A connection, of which only the cluster is real."""
        return Connection(CLUSTER, 0, cast(Any, None))

    def run_job(self, *command: str, files: dict[str, bytes | str] | None = None) -> Job:
        """Run a job to its end."""
        asked = request(command, f"t{time.monotonic_ns()}", files or {})
        answer = execute(self.connection, agent_argv("submit"), lambda stdin, _: write(stdin, asked))
        if answer.exit_code:
            raise BenchError(f"the agent failed: {answer.stderr!r}")
        number = int(json.loads(answer.stdout.splitlines()[-1])["job"])
        end = time.monotonic() + LIMIT_S
        while not (job := client.find_job(self.connection, number)).over:
            if time.monotonic() > end:
                raise BenchError(f"job {number} did not end")
            time.sleep(POLL_S)
        return job

    def copy_job(self, number: int, count: int) -> None:
        """Copy a job's record until there are `count` more."""
        for other in range(number + 1, number + count + 1):
            shutil.copytree(self.jobs / str(number), self.jobs / str(other))


@contextmanager
def start(folder: Path) -> Iterator[Machine]:
    """Yield a machine below a folder; every connection of this process leads to it."""
    machine = Machine(folder / "node")
    machine.home.mkdir()

    @contextmanager
    def open_channel(_: Connection, argv: Sequence[str]) -> Iterator[Pipes]:
        pipes = Pipes(machine.home, argv)
        with pipes.process:
            yield pipes

    with patch("infra.ssh.commands.open_channel", open_channel), patch("infra.ssh.carry.open_channel", open_channel):
        install_agent(machine.connection)
        yield machine
