"""The supervisor: one process beside each job, which starts it, waits for it, and records how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO

from .processes import GRACE_S, adopt_orphans, end_descendants, reap, tell
from .records import HOME, folder_of, is_supervised, read_json, record_of, write_json


def supervise(number: str) -> None:
    """Run the job in a session of its own, record how it ended, and leave none of its processes behind."""
    folder = folder_of(number)
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    state: dict[str, Any] = {"supervisor": os.getpid(), "started_at": time.time()}
    # Written before the job starts, so that a cancel that comes this early finds whom to tell.
    write_json(folder / "state.json", state)
    with (folder / "log").open("ab") as log:
        code, cancelled = run(read_json(folder / "job.json"), number, folder / "work", log)
    state.update(ended_at=time.time(), exit_code=code, cancelled=cancelled)
    end_descendants({})
    write_json(folder / "state.json", state)


def run(job: dict[str, Any], number: str, work: Path, log: BinaryIO) -> tuple[int, bool]:
    """Run the job's command to its end; return its exit code and whether it was cancelled."""
    program, *arguments = job["command"]
    try:
        process = subprocess.Popen(
            [job["python"] if program == "python" else program, *arguments],
            cwd=work / job["workdir"],
            env=environment(job, number, work),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=unblock_signals,
        )
    except OSError as error:
        log.write(f"gpujob: cannot run {program}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
        return (127 if isinstance(error, FileNotFoundError) else 126), False
    ended: dict[int, int] = {}
    cancelled = False
    while process.pid not in ended:
        # Both signals are blocked, so that one which comes between the look and the wait is not lost.
        if signal.sigwaitinfo({signal.SIGCHLD, signal.SIGTERM}).si_signo == signal.SIGTERM:
            cancelled = True
            end_descendants(ended)
        reap(ended)
    process.returncode = ended[process.pid]
    return process.returncode, cancelled


def unblock_signals() -> None:
    """Give the job the signals that its supervisor blocks for itself."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def environment(job: dict[str, Any], number: str, work: Path) -> dict[str, str]:
    """Return the job's environment: the login's, and ours."""
    outputs = work / job["workdir"] / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "GPUJOB_JOB": number,
        "GPUJOB_OUTPUTS": str(outputs),
        "PATH": os.path.dirname(job["python"]) + os.pathsep + os.environ.get("PATH", os.defpath),  # noqa: PTH120
        "PYTHONUNBUFFERED": "1",
        "PYTHONPYCACHEPREFIX": str(HOME / "pycache"),  # byte code is not an output
    }


def cancel(number: str) -> dict[str, Any]:
    """End the job if it runs; return its record once it is over."""
    folder = folder_of(number)
    deadline = time.monotonic() + 3 * GRACE_S
    told = False
    while is_supervised(folder) and time.monotonic() < deadline:
        supervisor = read_json(folder / "state.json", {}).get("supervisor")
        if supervisor and not told:
            tell(supervisor, signal.SIGTERM)
            told = True
        time.sleep(0.02)
    return record_of(number)
