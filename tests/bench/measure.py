"""Running a program and seeing what it took; several of them in turn; their medians."""

import os
import resource
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 180.0


class BenchError(Exception):
    """Something that was to be measured did not work."""


@dataclass(frozen=True)
class Measured:
    """What one program took, from its start to its end."""

    wall_s: float
    cpu_s: float
    """Its own and that of the processes it waited for."""
    peak_bytes: int
    """The most memory that one of them held at a time."""
    said: str
    """What it wrote to standard error."""


Side = Callable[[], Measured]


def run(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: Path | None = None, limit_s: float = LIMIT_S
) -> Measured:
    """Run a program to its end; raises BenchError if it fails or takes longer than `limit_s`."""
    with tempfile.TemporaryFile() as errors, (stdout or Path(os.devnull)).open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        status, usage = wait(process, limit_s)
        wall_s = time.perf_counter() - began
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if status:
        raise BenchError(f"{' '.join(words[-4:])} failed with status {status}: {said.strip()[-1000:]}")
    return Measured(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, said)


def wait(process: "subprocess.Popen[bytes]", limit_s: float) -> tuple[int, "resource.struct_rusage"]:
    """Wait for a process and return its exit status and what it used; it is killed when `limit_s` or our patience ends."""
    watch = threading.Timer(limit_s, kill, [process.pid])
    watch.daemon = True
    watch.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        kill(process.pid)
        process.wait()
        raise
    finally:
        watch.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def kill(leader: int) -> None:
    """Kill a session that `run` started, by its leader."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def interleave(sides: Mapping[str, Side], rounds: int, warm_up: int) -> dict[str, list[Measured]]:
    """Run the sides in turn, A B A B; the first `warm_up` rounds are not counted."""
    took: dict[str, list[Measured]] = {name: [] for name in sides}
    for _ in range(warm_up + rounds):
        for name, side in sides.items():
            took[name].append(side())
    return {name: measured[warm_up:] for name, measured in took.items()}


def wall(measured: Iterable[Measured]) -> float:
    """Return the median time in seconds."""
    return statistics.median(one.wall_s for one in measured)


def cpu(measured: Iterable[Measured]) -> float:
    """Return the median CPU time in seconds."""
    return statistics.median(one.cpu_s for one in measured)


def peak(measured: Iterable[Measured]) -> int:
    """Return the largest peak of memory in bytes."""
    return max(one.peak_bytes for one in measured)
