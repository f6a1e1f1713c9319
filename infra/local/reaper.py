"""No process outlives its machine: adopt orphans, reap them, and kill whole trees."""

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
    """Make orphans of this process's tree its own children (Linux), so that a double fork does not escape."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def give_up_privileges() -> None:
    """Make sure that nothing started from here gains rights by set-uid, or may reboot the real machine (Linux)."""
    if _LINUX:
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.prctl(_PR_CAPBSET_DROP, _CAP_SYS_BOOT, 0, 0, 0)


def reap_adopted(own: set[int]) -> None:
    """Reap dead children that this process adopted; its own are left to whoever waits for them."""
    while _LINUX:
        try:
            # WNOWAIT only looks: the status of an own child belongs to the one who started it.
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in own:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(dead.si_pid, os.WNOHANG)


def kill_descendants(spare: set[int] | frozenset[int] = frozenset(), mark: str = "") -> None:
    """Kill every process below this one until none is left, save the trees that start at the spared ids.

    The mark is an environment entry such as `NAME=value` that tells orphans on systems without subreapers.
    """
    while processes := _descendants(spare) + _marked(mark):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        time.sleep(0.005)


def has_children() -> bool:
    """Tell whether the kernel knows any child of this process, dead or alive."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_everything(mark: str = "") -> None:
    """Kill every process below this one until the kernel itself says that there is none."""
    while True:
        kill_descendants(mark=mark)
        # A listing of processes can miss one that forks while it is made; the kernel's word cannot.
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
