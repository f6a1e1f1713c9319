"""A process that has loaded the command and the local cloud once, and forks for each that is started: ten in the time of one.

As a program it gets its requests through a socket, each with a connection of its own and three descriptors to be the standard
streams of the fork. The connection brings what to run, and tells the process id and, at the end, the exit status.
"""

import atexit
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
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from infra.ec2.account import Account

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
            for stream in filter(None, said):
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
                [sys.executable, "-m", "tests.typist", *map(str, ends)],
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


def main(channel: socket.socket, back: int) -> None:
    """Fork for each request, and tell of each end; until standard input ends."""
    load(back)
    wakes, wake = socket.socketpair()
    for end in (wakes, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for source in (0, channel, wakes):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if 0 in ready:
                break
            if wakes in ready:
                wakes.recv(1000)
                reap(living)
            if channel in ready:
                connection, *streams = map(int, socket.recv_fds(channel, 100, 4)[1])
                caller = socket.socket(fileno=connection)
                pid = fork(caller, streams, back)
                living[pid] = caller
    for pid in living:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def load(back: int) -> None:
    """Import all that commands and the cloud import, and read what each of them would read first."""
    import gc
    import pkgutil
    from importlib import import_module

    from botocore.loaders import JSONFileLoader

    import cli
    import infra

    read = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
    JSONFileLoader.load_file = lambda _, path: read(path)
    for package in (cli, infra):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("infra.node.agent", "cli.__main__")):
                import_module(module.name)
    import_module("fabric")
    import_module("rich.table")
    rehearse()
    gc.freeze()  # what is never collected is never copied


def rehearse() -> None:
    """Plan a launch on a cloud of this process, so that forks find what that reads or works out and what never changes."""
    from infra.launch.plans import make_plan
    from infra.model import LaunchRequest

    with TemporaryDirectory() as folder, patch.dict(os.environ, XDG_STATE_HOME=folder), cloud_here() as account:
        make_plan(account, "rehearsal", LaunchRequest())
    assert threading.active_count() == 1, "a fork has but one thread"


@contextmanager
def cloud_here() -> "Iterator[Account]":
    """Be a local cloud without machines."""
    from werkzeug.serving import make_server

    from infra.ec2.account import open_local
    from infra.local.cloud.boots import Boots
    from infra.local.cloud.faults import Faults
    from infra.local.cloud.machines.hosts import Hosts
    from infra.local.cloud.server.gateway import Front
    from infra.local.cloud.server.handlers import Gaps
    from infra.local.cloud.server.service import _Quiet

    faults = Faults()
    front = Front("REHEARSAL", Gaps(Hosts(Path(os.devnull), 0, Boots(faults)), faults))
    server = make_server("127.0.0.1", 0, front, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield open_local(f"http://127.0.0.1:{server.server_port}", "REHEARSAL")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reap(living: dict[int, socket.socket]) -> None:
    """Tell the end of each fork that has ended."""
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with living.pop(pid) as caller, suppress(BrokenPipeError):
                caller.sendall(b"%d\n" % status)


def fork(caller: socket.socket, streams: list[int], back: int) -> int:
    """Fork, and tell the caller the process id."""
    with caller.makefile("rb") as said:
        request = Request(**json.loads(said.readline()))
    pid = os.fork()
    if pid == 0:
        be(request, streams, back)
    for stream in streams:
        os.close(stream)
    if request.held:
        os.waitpid(pid, os.WUNTRACED)
    with suppress(BrokenPipeError):
        caller.sendall(b"%d\n" % pid)
    return pid


def be(request: Request, streams: list[int], back: int) -> None:
    """Be what is asked for, and never return."""
    code = 1
    try:
        settle(request, streams, back)
        if request.held:
            os.kill(os.getpid(), signal.SIGSTOP)
        (be_cloud if request.cloud else be_command)(request)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def settle(request: Request, streams: list[int], back: int) -> None:
    """Leave behind what is this process's own: session, streams, signals, folder and environment."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM):  # whoever started the tests may ignore some
        signal.signal(number, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    if back != 3:
        os.dup2(back, 3, inheritable=False)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.folder)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    fork_clouds(Typist(socket.socket(fileno=3)))


def be_command(request: Request) -> None:
    """Be a command line."""
    from cli.main import main as run

    sys.argv = ["gpujob", *request.words]
    run()


def be_cloud(request: Request) -> None:
    """Be the local cloud of a folder, whose ids are its own."""
    from moto.moto_api._internal import mock_random

    from infra.local.cloud.server.service import main as run

    mock_random.seed()
    run(Path(request.words[0]))


def fork_clouds(typist: Typist) -> None:
    """Let the local clouds that this process starts be forks."""
    from infra.local import process

    process.spawn = partial(spawn_cloud, typist)


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


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
