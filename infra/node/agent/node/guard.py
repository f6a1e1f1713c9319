"""The guard: tells jobs that the machine is about to end, ends it with its lease, and ends one that nothing uses.

It runs beside the jobs from the first boot on, started again by the machine whenever it ends. Whatever becomes of it, the lease
holds: the machine's own timer powers it off. It ends the machine by the same `shutdown` that a person would type.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ..processes import tell
from ..records import JOBS, WORK, folder_of, is_supervised, numbers
from .leftovers import Leftovers
from .notice import read_notice

PERIOD_S = 5.0
SSH_PORT = int(os.environ.get("GPUJOB_SSH_PORT", "22"))
ESTABLISHED = "01"  # linux/include/net/tcp_states.h, as /proc/net/tcp shows it
GPU_USERS = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]


def guard(idle_s: str, warning_s: str) -> None:
    """Look every few seconds until the machine ends; 0 for `idle_s` means that it may be idle for ever."""
    idle, warning = float(idle_s), float(warning_s)
    # Small limits, which a rehearsal has, are looked at more often.
    period = min([PERIOD_S, *(limit / 5 for limit in (idle, warning) if limit)])
    warned: set[int] = set()
    busy_at = time.monotonic()
    leftovers = Leftovers(idle)
    while True:
        left = lease_end() - time.time()
        if left <= 0:
            power_off("the gpujob lease has ended")
        elif reason := ending(left, warning):
            warned |= warn(set(running_jobs()) - warned, reason)
        if is_busy() or (idle and leftovers.work()):
            busy_at = time.monotonic()
        elif idle and time.monotonic() - busy_at >= idle:
            power_off(f"nothing has used this machine for {idle:g} s")
        time.sleep(period)


def lease_end() -> float:
    """Return when the lease ends, in seconds since the epoch, as the machine itself tells; infinity if it does not."""
    with contextlib.suppress(OSError, ValueError):
        return float(subprocess.run(["sudo", "-n", "gpujob-lease"], stdout=subprocess.PIPE, check=False).stdout)
    return float("inf")


def ending(left_s: float, warning_s: float) -> str:
    """Return why the machine is about to end; "" if it is not."""
    if left_s <= warning_s:
        return "the lease ends soon and the machine with it"
    notice = read_notice()
    return f"AWS takes this spot machine back at {notice}" if notice else ""


def power_off(reason: str) -> None:
    """End the machine."""
    with contextlib.suppress(OSError):
        subprocess.call(["sudo", "-n", "shutdown", "-h", "now", reason], stdout=subprocess.DEVNULL)


def running_jobs() -> list[int]:
    """Return the numbers of the jobs that run or wait."""
    return [number for number in numbers() if is_supervised(JOBS / str(number))]


def warn(jobs: set[int], reason: str) -> set[int]:
    """Tell every process of these jobs to finish (SIGTERM), and their logs why; return the jobs that were told."""
    for number in jobs:
        with contextlib.suppress(OSError), (folder_of(number) / "log").open("ab") as log:
            log.write(f"\ngpujob: {reason}; the job is told to finish (SIGTERM)\n".encode())
        for pid in processes_of(number):
            tell(pid, signal.SIGTERM)
    return jobs


def processes_of(number: int) -> list[int]:
    """Return the processes of a job, whoever their parents are: each has the job's folder in its environment."""
    mark = os.fsencode(f"GPUJOB_OUTPUTS={WORK / str(number)}/")
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if any(pair.startswith(mark) for pair in Path("/proc", str(pid), "environ").read_bytes().split(b"\0")):
                found.append(pid)
    return found


def is_busy() -> bool:
    """Tell whether anything speaks against ending this machine: a job, outputs that are not home, a connection, a GPU in use."""
    unfetched = any(not (JOBS / str(number) / "fetched").exists() for number in numbers())
    return unfetched or bool(running_jobs()) or is_connected() or is_computing()


def is_connected() -> bool:
    """Tell whether anybody is connected by SSH: a login, a forwarded port, a job that is followed."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == SSH_PORT:
                    return True
    return False


def is_computing() -> bool:
    """Tell whether a process uses a GPU that no job of ours started, such as one that was left behind in tmux."""
    if not shutil.which(GPU_USERS[0]):
        return False
    return bool(subprocess.run(GPU_USERS, stdout=subprocess.PIPE, check=False).stdout.strip())
