"""What a test leaves behind fails it: a process, a port that listens, a file in the repository or where this user's own state is.

Processes of a test are those below this one, and those with something of the test's own folder in their words, home or folder.
What a module or the whole session shares may live on until the session ends, when none may be left.
"""

import os
import socket
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parent.parent
HOME = Path.home()  # a test may have another
GRACE_S = 8.0
CACHES = ("__pycache__", ".coverage", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")
OURS = ("cli", "infra", "jobs", "tests", "docs", "ansible", "runs", "")
BEFORE = pytest.StashKey[frozenset[str]]()
BEGAN = pytest.StashKey[frozenset[int]]()
OTHERS = pytest.StashKey[frozenset[int]]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Take note of what there is before a test: files before its fixtures, children and ports after them."""
    item.stash[BEFORE], item.stash[OTHERS] = frozenset(files()), frozenset(psutil.pids())
    try:
        return (yield)
    finally:
        item.stash[BEGAN] = frozenset({*children(), *ports()})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that leaves anything behind."""
    result = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")

    def find() -> list[str]:
        begun = item.stash[BEGAN]
        left = [describe(pid) for pid in children() - begun] + [f"port {port}" for port in ports() - begun]
        left += [f"file {path}" for path in set(files()) - item.stash[BEFORE]]
        return left + (processes_in(folder, item.stash[OTHERS]) if folder else [])

    if left := wait_until_none(find):
        pytest.fail(f"left behind: {'; '.join(left)}", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Fail the session whose shared fixtures leave a process behind."""
    result = yield
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory and factory._basetemp and (left := wait_until_none(lambda: processes_in(factory.getbasetemp()))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        os.write(2, f"left behind by the session: {'; '.join(left)}\n".encode())
    return result


def wait_until_none(find: Callable[[], list[str]]) -> list[str]:
    """Return what is still there once all had time to end."""
    end = time.monotonic() + GRACE_S
    while (left := find()) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def children() -> set[int]:
    """Return the processes that this one has started and that live."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "tests.forking" not in child.cmdline():
                found.add(child.pid)
    return found


def ports() -> set[int]:
    """Return the ports at which this process listens; negative, so that they are no process ids."""
    found = set()
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                with socket.socket(fileno=os.dup(int(entry.name))) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        name = one.getsockname()
                        found.add(-name[1] if isinstance(name, tuple) else -1)
    return found


def files() -> Iterator[str]:
    """Yield what lies in the repository and in this user's own state, as far as a test could have put it there."""
    for name in OURS:
        yield from names_in(REPOSITORY / name)
    yield from names_in(HOME / ".local/state/gpujob/clusters")
    yield from names_in(HOME / ".local/state/gpujob/local")


def names_in(folder: Path) -> Iterator[str]:
    """Yield the paths in a folder; none of one that is not there."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if not entry.name.startswith(CACHES))


def processes_in(folder: Path, others: frozenset[int] = frozenset()) -> list[str]:
    """Describe the living processes, save some others, that have a folder in their words, home or current folder."""
    found = []
    for pid in {*psutil.pids()} - others - {os.getpid()}:
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and str(folder) in places_of(process):
                found.append(describe(pid))
    return found


def places_of(process: psutil.Process) -> str:
    """Return where a process is at home, in one text."""
    return "\n".join([*process.cmdline(), process.environ().get("HOME", ""), process.cwd()])


def describe(pid: int) -> str:
    """Name a process."""
    with suppress(psutil.Error):
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:200]})"
    return f"process {pid}"
