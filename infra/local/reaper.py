"""Adopt orphans, reap them, and kill process trees, so that no process outlives its machine."""

import contextlib
import ctypes
import os
import sys
import time

import psutil

_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAP_SYS_BOOT = 22
_LINUX = sys.platform == "linux"


def become_subreaper() -> None:
    """Adopt orphans of this process's tree (Linux), so that a double fork does not escape."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def give_up_privileges() -> None:
    """Prevent everything started from here from gaining rights by set-uid or rebooting (Linux)."""
    if _LINUX:
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.prctl(_PR_CAPBSET_DROP, _CAP_SYS_BOOT, 0, 0, 0)


def reap_adopted(own: set[int]) -> None:
    """Reap adopted children that have exited, but not this process's own."""
    while _LINUX:
        try:
            # WNOWAIT only peeks: the status of our own child belongs to the code that started it.
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in own:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(dead.si_pid, os.WNOHANG)


def kill_descendants(spare: set[int] | frozenset[int] = frozenset(), mark: str = "") -> None:
    """Kill every descendant until none is left, except the trees rooted at the spared ids.

    The mark is an environment entry such as `NAME=value` that identifies orphans on systems without subreapers.
    """
    while processes := _descendants(spare) + _marked(mark):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        time.sleep(0.005)


def freeze(pid: int) -> None:
    """Stop a process and all of its descendants, also those that are being started."""
    stopped: set[int] = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        while running := [one for one in _tree(pid) if one.pid not in stopped]:
            for process in running:
                stopped.add(process.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()


def thaw(pid: int) -> None:
    """Let a process and its descendants, which were stopped, go on."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in _tree(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _tree(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def has_children() -> bool:
    """Return whether the kernel reports any child of this process, alive or dead."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_everything(mark: str = "") -> None:
    """Kill every descendant until the kernel reports that none is left."""
    while True:
        kill_descendants(mark=mark)
        # A process listing can miss one that forks at that moment; the kernel's answer cannot.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not _LINUX or not has_children():
            return
        time.sleep(0.005)


def _descendants(spare: set[int] | frozenset[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        if child.pid not in spare:
            found.append(child)
            with contextlib.suppress(psutil.NoSuchProcess):
                found.extend(child.children(recursive=True))
    return found


def _marked(mark: str) -> list[psutil.Process]:
    if _LINUX or not mark:
        return []
    name, _, value = mark.partition("=")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(name) == value:
                found.append(process)
    return found
