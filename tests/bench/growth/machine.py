"""A real agent in a home of its own, to which the client talks over pipes: client and node are measured apart."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import psutil

from infra.model import Cluster, Gpu, Job, Node
from infra.node import client
from infra.node.packing import agent_argv, install_agent, write
from infra.ssh.commands import execute
from infra.ssh.connection import Connection
from tests.agent_fixtures import request
from tests.bench.growth.curve import Costs
from tests.bench.measure import BenchError, wait

MACHINE = Node("i-growth", "running", "host", 22, "t", "z")
CLUSTER = Cluster("growth", "local", "here", (MACHINE,), Gpu("T4"), 0.5, 2e9, 1.7e9, "owner")
LIMIT_S = 300.0
POLL_S = 0.1
CLIENT, NODE = "client", "node"


INTERPRETERS = Path(sys.base_prefix, "bin")  # before those of PATH, which may be scripts that look for one


class Pipes:
    """An agent's process, with the methods of a channel that the client uses."""

    def __init__(self, home: Path, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=home,
            env={"HOME": str(home), "PATH": f"{INTERPRETERS}:{os.environ['PATH']}", "GPUJOB_LOCAL_HOST": "growth"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.cpu_s = 0.0
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
        if self.process.returncode is None:
            _, usage = wait(self.process, LIMIT_S)
            self.cpu_s = usage.ru_utime + usage.ru_stime
        return self.process.returncode

    def close(self) -> None:
        """Let it end, and wait for that."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        self.recv_exit_status()


@dataclass(frozen=True)
class Machine:
    """A home with an agent in it, and its jobs."""

    home: Path
    spent_s: list[float] = field(default_factory=list)
    """The CPU seconds of each call of the agent; a job's own processes are not counted."""

    @property
    def jobs(self) -> Path:
        """The folder of the jobs' records."""
        return self.home / ".gpujob/jobs"

    @property
    def connection(self) -> Connection:
        """A connection, of which only the cluster is real."""
        return Connection(CLUSTER, 0, cast(Any, None))

    def measure(self, action: Callable[[], object]) -> Costs:
        """Run something; return what it cost the client, with the programs that it started, and the node."""
        calls, before_s = len(self.spent_s), cpu_seconds()
        action()
        node_s = sum(self.spent_s[calls:])
        return {CLIENT: cpu_seconds() - before_s - node_s, NODE: node_s}

    def submit(self, *command: str, gpus: int = 0) -> int:
        """Submit a job without files; return its number."""
        asked = request(command, f"t{time.monotonic_ns()}", {}, gpus=gpus)
        answer = execute(self.connection, agent_argv("submit"), lambda stdin, _: write(stdin, asked))
        if answer.exit_code:
            raise BenchError(f"the agent failed: {answer.stderr!r}")
        return int(json.loads(answer.stdout.splitlines()[-1])["job"])

    def run_job(self, *command: str) -> Job:
        """Run a job to its end."""
        return self.wait(self.submit(*command))

    def wait(self, number: int) -> Job:
        """Wait for the end of a job."""
        end = self.jobs / str(number) / "end.json"
        await_that(lambda: end.read_text().strip(), f"job {number} to end")
        return client.find_job(self.connection, number)

    def wait_until_quiet(self) -> None:
        """Wait until none of its processes is left: the next snapshot is prepared after a job's end, too."""
        await_that(lambda: not any(map(self.owns, psutil.process_iter())), "the node's processes to end")

    def owns(self, process: psutil.Process) -> bool:
        """Return whether a process runs here."""
        with suppress(psutil.Error):
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HOME") == str(self.home)
        return False

    def copy_job(self, number: int, count: int) -> None:
        """Copy a job's record until there are `count` more."""
        for other in range(number + 1, number + count + 1):
            shutil.copytree(self.jobs / str(number), self.jobs / str(other))


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition is true; raises BenchError."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited in vain for {what}")
        time.sleep(POLL_S)


def cpu_seconds() -> float:
    """Return what this process, and the processes that it has waited for, have taken so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def start(folder: Path) -> Iterator[Machine]:
    """Yield a machine below a folder; every connection of this process leads to it."""
    machine = Machine(folder / "node")
    machine.home.mkdir()

    @contextmanager
    def open_channel(_: Connection, argv: Sequence[str]) -> Iterator[Pipes]:
        pipes = Pipes(machine.home, argv)
        try:
            yield pipes
        finally:
            pipes.close()
            machine.spent_s.append(pipes.cpu_s)

    with patch("infra.ssh.commands.open_channel", open_channel), patch("infra.ssh.carry.open_channel", open_channel):
        install_agent(machine.connection)
        yield machine
