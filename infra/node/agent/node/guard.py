"""The guard: warn jobs before the machine ends, end it with its lease, and end an idle machine.

systemd starts it at boot and restarts it whenever it exits. Even without it the lease holds: a timer of the machine powers
it off. The guard itself ends the machine with `shutdown`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ..bucket.process import WARNED, is_saved, start_uploads
from ..processes import tell
from ..records import JOBS, PREEMPTED, WORK, folder_of, is_supervised, numbers
from .leftovers import Leftovers
from .neighbours import Neighbours
from .notice import read_notice

PERIOD_S = 5.0
RECLAIM = "AWS reclaims this spot machine"
SSH_PORT = int(os.environ.get("GPUJOB_SSH_PORT", "22"))
ESTABLISHED = "01"  # linux/include/net/tcp_states.h, as /proc/net/tcp shows it
GPU_USERS = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]


def guard(idle_s: str, warning_s: str) -> None:
    """Check every few seconds until the machine ends; `idle_s` 0 disables the idle shutdown."""
    idle, warning = float(idle_s), float(warning_s)
    # Short limits, as in a dry run, are checked more often.
    period = min([PERIOD_S, *(limit / 5 for limit in (idle, warning) if limit)])
    warned: set[int] = set()
    busy_at = time.monotonic()
    leftovers, neighbours = Leftovers(idle), Neighbours()
    while True:
        start_uploads()
        left = lease_end() - time.time()
        if left <= 0:
            power_off("the gpujob lease has ended")
        elif reason := ending(left, warning):
            warned |= warn(find_unwarned(warned, reason), reason)
        elif left < float("inf"):
            warned.clear()  # the lease was extended
        busy = is_busy() or bool(idle and leftovers.work())
        if neighbours.exchange(busy=busy) or busy:
            busy_at = time.monotonic()
        elif idle and time.monotonic() - busy_at >= idle:
            power_off(f"idle for {idle:g} s")
        time.sleep(period)


def lease_end() -> float:
    """Return the lease's end, in seconds since the epoch, as set on the machine; infinity if unknown."""
    with contextlib.suppress(OSError, ValueError):
        return float(subprocess.run(["sudo", "-n", "gpujob-lease"], stdout=subprocess.PIPE, check=False).stdout)
    return float("inf")


def ending(left_s: float, warning_s: float) -> str:
    """Return why the machine is about to end; "" if it is not."""
    if left_s <= warning_s:
        return "the lease, and with it the machine, ends soon"
    notice = read_notice()
    return f"{RECLAIM} at {notice}" if notice else ""


def power_off(reason: str) -> None:
    """Power the machine off."""
    with contextlib.suppress(OSError):
        subprocess.call(["sudo", "-n", "shutdown", "-h", "now", reason], stdout=subprocess.DEVNULL)


def running_jobs() -> list[int]:
    """Return the numbers of running and queued jobs."""
    return [number for number in numbers() if is_supervised(JOBS / str(number))]


def find_unwarned(warned: set[int], reason: str) -> set[int]:
    """Return the jobs to warn: each once, also if AWS reclaims another of its nodes."""
    jobs = set(running_jobs()) - warned
    return {job for job in jobs if not (reason.startswith(RECLAIM) and (JOBS / str(job) / PREEMPTED).exists())}


def warn(jobs: set[int], reason: str) -> set[int]:
    """Send SIGTERM to every process of these jobs and log why; return the jobs notified."""
    for number in jobs:
        if reason.startswith(RECLAIM):
            with contextlib.suppress(OSError):
                (folder_of(number) / PREEMPTED).touch()
        with contextlib.suppress(OSError):
            (folder_of(number) / WARNED).touch()
        with contextlib.suppress(OSError), (folder_of(number) / "log").open("ab") as log:
            log.write(f"\ngpujob: {reason}; sending SIGTERM to the job\n".encode())
        for pid in processes_of(number):
            tell(pid, signal.SIGTERM)
    return jobs


def processes_of(number: int) -> list[int]:
    """Return a job's processes, whatever their parents, by the job's folder in their environment."""
    mark = os.fsencode(f"GPUJOB_OUTPUTS={WORK / str(number)}/")
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if any(pair.startswith(mark) for pair in Path("/proc", str(pid), "environ").read_bytes().split(b"\0")):
                found.append(pid)
    return found


def is_busy() -> bool:
    """Return whether the machine is in use: a job, outputs that only it has, a connection, a busy GPU."""
    folders = [JOBS / str(number) for number in numbers()]
    unfetched = any(not (folder / "fetched").exists() and not is_saved(folder) for folder in folders)
    return unfetched or bool(running_jobs()) or is_connected() or is_computing()


def is_connected() -> bool:
    """Return whether anyone is connected by SSH: a login, a forwarded port, a followed job."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == SSH_PORT:
                    return True
    return False


def is_computing() -> bool:
    """Return whether a process outside of any job uses a GPU, for example one left in tmux."""
    if not shutil.which(GPU_USERS[0]):
        return False
    answer = subprocess.run(GPU_USERS, stdout=subprocess.PIPE, check=False)
    return any(map(is_ours, answer.stdout.decode("utf-8", "replace").split()))


def is_ours(pid: str) -> bool:
    """Return whether a process belongs to this machine: local machines share their computer's GPUs."""
    host = os.environ.get("GPUJOB_LOCAL_HOST")
    if not host:
        return True
    with contextlib.suppress(OSError):
        return f"GPUJOB_LOCAL_HOST={host}".encode() in Path("/proc", pid, "environ").read_bytes().split(b"\0")
    return False
