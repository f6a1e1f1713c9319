"""The supervisor: one process beside each job, which starts it, waits for it, and records how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator, NamedTuple

from .dependencies import DependenciesError, prepare
from .processes import GRACE_S, adopt_orphans, end_descendants, reap, tell
from .records import HOME, folder_of, is_supervised, read_json, record_of, reserve, write_json, write_reserved
from .turns import wait_turn


class CancelledError(Exception):
    """Somebody cancelled the job before its command began."""


def supervise(number: str, queued: str) -> None:
    """Wait for the job's turn, run it in a session of its own, record how it ended, leave none of its processes behind."""
    folder = folder_of(number)
    job = read_json(folder / "job.json")
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    state: dict[str, Any] = {"supervisor": os.getpid()}
    # Written before anything else, so that a cancel that comes this early finds whom to tell.
    write_json(folder / "state.json", state)
    reserve(folder / "end.json")
    try:
        with cancellable():
            state["gpus"] = wait_turn(int(number), count_gpus(job), job["slots"])
        state["started_at"] = time.time()
        write_json(folder / "state.json", state)
        os.close(int(queued))
        with (folder / "log").open("ab") as log:
            if not job["no_deps"]:
                with cancellable():
                    state["python"], state["dependencies"] = prepare(folder / "work", job["python"], log)
                write_json(folder / "state.json", state)
            variables = environment(job, state, number, folder / "work")
            ending = run(job["command"], job["time_limit_s"], variables, folder / "work" / job["workdir"], log)
    except CancelledError:
        ending = Ending(128 + signal.SIGTERM, cancelled=True)
    except DependenciesError as error:
        ending = Ending(1, reason=str(error))
    # Before the stragglers are ended, which may take a while and must not cost the record.
    write_reserved(folder / "end.json", {"ended_at": time.time(), **ending._asdict()})
    end_descendants({})


def count_gpus(job: dict[str, Any]) -> int:
    """Return how many GPUs a job waits for."""
    return int(job["slots"] if job["gpus"] is None else job["gpus"])


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Let a cancel (SIGTERM) break off what is done within, by CancelledError."""

    def give_up(*_: Any) -> None:
        raise CancelledError

    signal.signal(signal.SIGTERM, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


class Ending(NamedTuple):
    """How a job ended: its exit code, whether somebody cancelled it, and what ended it if it was neither."""

    exit_code: int
    cancelled: bool = False
    reason: str = ""


def run(
    command: list[str], time_limit_s: float | None, variables: dict[str, str], folder: Path, log: BinaryIO
) -> Ending:
    """Run the job's command to its end, at most for its time limit."""
    try:
        process = subprocess.Popen(
            [variables["GPUJOB_PYTHON"] if command[0] == "python" else command[0], *command[1:]],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=unblock_signals,
        )
    except OSError as error:
        log.write(f"gpujob: cannot run {command[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
        return Ending(127 if isinstance(error, FileNotFoundError) else 126)
    return wait(process, time_limit_s)


def wait(process: subprocess.Popen[bytes], time_limit_s: float | None) -> Ending:
    """Wait until the job's process has ended, by itself, by a cancel (SIGTERM to this process), or by its time limit."""
    ended: dict[int, int] = {}
    deadline = time.monotonic() + time_limit_s if time_limit_s else None
    cancelled, reason = False, ""
    while process.pid not in ended:
        left_s = max(deadline - time.monotonic(), 0) if deadline else 1e6
        # Both signals are blocked, so that one which comes between the look and the wait is not lost.
        caught = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, left_s)
        if caught is None or caught.si_signo == signal.SIGTERM:
            cancelled, reason = (
                caught is not None,
                "" if caught else f"its time limit of {time_limit_s:g} s was reached",
            )
            end_descendants(ended)
        reap(ended)
    process.returncode = ended[process.pid]
    return Ending(process.returncode, cancelled, reason)


def unblock_signals() -> None:
    """Give the job the signals that its supervisor blocks for itself."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def environment(job: dict[str, Any], state: dict[str, Any], number: str, work: Path) -> dict[str, str]:
    """Return the job's environment: the login's, the person's, and ours."""
    outputs = work / job["workdir"] / "outputs"
    if outputs.exists() and not outputs.is_dir():
        outputs = outputs.with_name("gpujob-outputs")  # the project has a file of that name
    outputs.mkdir(parents=True, exist_ok=True)
    python = state.get("python", job["python"])
    own = [str(Path(interpreter).parent) for interpreter in dict.fromkeys([python, job["python"]])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*own, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPYCACHEPREFIX": str(HOME / "pycache"),  # byte code is not an output
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, state["gpus"])),
        **job["env"],
        "GPUJOB_JOB": number,
        "GPUJOB_OUTPUTS": str(outputs),
        "GPUJOB_PYTHON": python,
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
