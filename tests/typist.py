"""Commands and local clouds as forks of a process that has loaded both once (tests/forking.py): ten in the time of one.

Requests go to it through a socket, each with a connection of its own and three descriptors to be the standard streams of the
fork. The connection takes what to run there, and brings back the process id and, at the end, the exit status.
"""

import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Request:
    """What a fork is to be: a command line of ours, or the local cloud of a folder."""

    words: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]
    cloud: bool = False
    held: bool = False
    """Whether it waits for SIGCONT before it begins, so that its process id can be used before."""


@dataclass
class Typed:
    """A fork: what `subprocess.Popen` returns, as far as tests use it."""

    pid: int
    connection: io.BufferedReader
    stdout: io.FileIO | None = None
    stderr: io.FileIO | None = None
    returncode: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        if self.returncode is None and not has_input(self.connection, timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        with self._lock:
            if self.returncode is None:
                line = self.connection.readline()
                self.returncode = os.waitstatus_to_exitcode(int(line)) if line else -signal.SIGKILL
                self.connection.close()
            return self.returncode

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Read its output and its errors to their ends, and wait for its own."""
        end = None if timeout is None else time.monotonic() + timeout
        said: dict[io.FileIO | None, bytes] = {self.stdout: b"", self.stderr: b""}
        with selectors.DefaultSelector() as selector:
            for stream in (one for one in said if one and not one.closed):
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                left = None if end is None else end - time.monotonic()
                ready = selector.select(left)
                if not ready and left is not None and left <= 0:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
                for key, _ in ready:
                    if chunk := os.read(key.fd, 65536):
                        said[key.fileobj] += chunk
                    else:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return said[self.stdout], said[self.stderr]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Typist:
    """The other end of that process, which is started when it is first needed."""

    def __init__(self, channel: socket.socket | None = None) -> None:
        self._channel = channel
        self._process: subprocess.Popen[bytes] | None = None

    def _reach(self) -> socket.socket:
        if self._channel is None:
            self._channel, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            ends = (there.fileno(), self._channel.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", *map(str, ends)],
                cwd=REPOSITORY,
                env={name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=ends,
                start_new_session=True,
            )
            there.close()
        return self._channel

    def close(self) -> None:
        """End that process with all forks that live."""
        if self._process:
            self._process.communicate()
            self._process = self._channel = None

    def start(self, request: Request, streams: tuple[int, int, int]) -> Typed:
        """Start a fork with these standard streams."""
        here, there = socket.socketpair()
        socket.send_fds(self._reach(), [b"start"], [there.fileno(), *streams])
        there.close()
        with here:
            here.sendall(json.dumps(asdict(request)).encode() + b"\n")
            connection = here.makefile("rb")
        return Typed(int(connection.readline()), connection)

    def type(self, request: Request) -> Typed:
        """Start a fork without input, whose output and errors can be read."""
        with Path(os.devnull).open("rb") as nothing, pipe() as (out, into_out), pipe() as (errors, into_errors):
            typed = self.start(request, (nothing.fileno(), into_out, into_errors))
            typed.stdout, typed.stderr = (io.FileIO(os.dup(one)) for one in (out, errors))
        return typed


def has_input(stream: io.BufferedReader, timeout_s: float | None) -> bool:
    """Wait until something can be read; return whether it can."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe, whose ends here are closed at the end."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def spawn_cloud(typist: Typist, folder: Path, environment: Mapping[str, str], log: io.BufferedWriter) -> Typed:
    """Fork the local cloud of a folder."""
    with Path(os.devnull).open("rb") as nothing:
        request = Request((str(folder.resolve()),), str(folder), environment, cloud=True)
        return typist.start(request, (nothing.fileno(), log.fileno(), log.fileno()))


TYPIST = Typist()


@contextmanager
def clouds_forked() -> Iterator[None]:
    """Let the local clouds that are started within be forks."""
    with patch("infra.local.process.spawn", partial(spawn_cloud, TYPIST)):
        yield
