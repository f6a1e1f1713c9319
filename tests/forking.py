"""The process that the tests' commands and local clouds are forked from: see tests/typist.py, which starts it and asks it."""

import atexit
import gc
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.compiled import compile_agent, keep_compiled
from tests.typist import Request, Typist, spawn_cloud

if TYPE_CHECKING:
    from botocore.model import ServiceModel

    from infra.ec2.account import Account


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
    import cli
    import infra

    teach_botocore()
    for package in (cli, infra):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(("infra.node.agent", "cli.__main__")):
                import_module(module.name)
    import_module("fabric")
    import_module("rich.table")
    rehearse()
    gc.freeze()  # what is never collected is never copied


def teach_botocore() -> None:
    """Let botocore read what describes a service, make the methods of its client, and name its events, once for all forks."""
    import botocore.session
    from botocore.client import ClientCreator
    from botocore.hooks import EventAliaser
    from botocore.loaders import JSONFileLoader, create_loader

    read = cache(partial(JSONFileLoader.load_file, JSONFileLoader()))
    JSONFileLoader.load_file = lambda _, path: read(path)
    botocore.session.create_loader = cache(create_loader)
    make, known = ClientCreator._create_methods, {}

    def make_once(creator: ClientCreator, model: "ServiceModel") -> dict[str, object]:
        if model.service_name not in known:
            known[model.service_name] = make(creator, model)
        return {**known[model.service_name]}

    ClientCreator._create_methods = make_once
    alias, aliases = EventAliaser._alias_event_name, {}

    def alias_once(aliaser: EventAliaser, name: str) -> str:
        if name not in aliases:
            aliases[name] = alias(aliaser, name)
        return aliases[name]

    EventAliaser._alias_event_name = alias_once


def rehearse() -> None:
    """Plan a launch on a cloud of this process, so that forks find what that reads or works out and what never changes."""
    from infra.launch.plans import make_plan
    from infra.model import LaunchRequest

    compile_agent(sys.executable)
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
    from infra.local.cloud.server.gateway import Gateway
    from infra.local.cloud.server.handlers import Handlers
    from infra.local.cloud.server.service import _Quiet

    faults = Faults()
    gateway = Gateway("REHEARSAL", Handlers(Hosts(Path(os.devnull), 0, Boots(faults)), faults))
    server = make_server("127.0.0.1", 0, gateway, request_handler=_Quiet)
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

    from infra.local.cloud.machines import hosts
    from infra.local.cloud.server.service import main as run

    mock_random.seed()
    hosts.spawn = spawn_host
    run(Path(request.words[0]))


def spawn_host(config: Path, lock: int) -> "subprocess.Popen[bytes]":
    """Fork the host of a machine, a child of its cloud as it always is."""
    return subprocess.Popen(
        [sys.executable],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(lock,),
        preexec_fn=partial(be_host, config, lock),
    )


def be_host(config: Path, lock: int) -> None:
    """Be the host of a machine, and never return to what would have loaded another program."""
    from infra.local.machine.host import main as run

    code = 1
    try:
        gc.freeze()
        os.closerange(3, lock)
        os.closerange(lock + 1, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as in any Python: what is started there gets the default back
        keep_compiled(config.parent / "home")
        run(config)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def fork_clouds(typist: Typist) -> None:
    """Let the local clouds that this process starts be forks."""
    from infra.local import process

    process.spawn = partial(spawn_cloud, typist)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
