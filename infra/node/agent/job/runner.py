"""Run a job's command: start it, wait for it, record how it ended, and end all of its processes.

The runner is its own process, forked by the supervisor, so that a job survives the loss of either: without a supervisor
the runner continues; without a runner the job's processes become children of the supervisor, which finishes the job.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import trees
from ..data.mounts import Mount, explain_refusal, mount_all
from ..environment.overlay import ENVIRONMENT
from ..environment.uv import say
from ..identities import identify
from ..processes import GRACE_S, adopt_orphans, end_descendants, is_child, reap, unblock_signals
from ..records import RAY_SESSIONS, Ending, read_json, write_reserved, write_runner
from ..room import name_full_disk
from ..terminal import feed, take_terminal
from .mask import Mask, pour

if TYPE_CHECKING:
    from ..muster import AnyTie

CANCEL = signal.SIGTERM
STALLED, STALLED_UNSEEN = signal.SIGUSR1, signal.SIGUSR2
# The signal for each way of ending a job. With PYTHONFAULTHANDLER, Python prints its stacks on SIGABRT: the last resort
# when py-spy could not read them.
ENDED_BY = {CANCEL: signal.SIGTERM, STALLED: signal.SIGTERM, STALLED_UNSEEN: signal.SIGABRT}
SIGNALS = {signal.SIGCHLD, *ENDED_BY}
TICK_S = 0.2


class Task(NamedTuple):
    """A job that is ready to start."""

    folder: Path
    command: list[str]
    variables: dict[str, str]
    workdir: Path
    started_s: float
    """Start time on the monotonic clock."""
    time_limit_s: float | None
    stalled: str
    """Reason to record if the job is ended because it stalled."""
    secrets: list[str]
    pipe: tuple[int, int] | None
    """The pipe through the mask, or the terminal; None if the job writes to the log directly."""
    terminal: bool = False
    """Whether it is a terminal, from which the job also reads."""
    mounts: tuple[Mount, ...] = ()
    """The data sets to mount; where that is not possible, they are links."""
    tie: AnyTie | None = None
    """What ties it to the other parts of a job over several nodes."""


def run(task: Task) -> None:
    """Start the job's command and wait until its end is recorded; the caller has blocked `SIGNALS`."""
    os.setsid()  # signals for the supervisor's group must not reach the job
    adopt_orphans()
    write_runner(task.folder, identify(os.getpid()))
    try:
        mount_all(task.mounts)
        process = start(task)  # kept until the end: Python reaps a dropped child, losing its exit code
    except OSError as error:
        text = f"gpujob: cannot run {task.command[0]}: {error.strerror}\n"
        with contextlib.suppress(OSError), (task.folder / "log").open("ab") as log:
            log.write(text.encode("utf-8", "surrogateescape"))
        ending = Ending(127 if isinstance(error, FileNotFoundError) else 126)
        if task.tie:
            task.tie.start()
        record_end(task.folder, task.started_s, conclude(task.tie, ending))
        return
    if task.tie:
        task.tie.start()
    write_runner(task.folder, identify(os.getpid()), identify(process.pid))
    if task.pipe:
        os.close(task.pipe[1])
    finish(task, process.pid)
    explain(task.folder)
    # No other job uses it, and it may be large.
    trees.remove(task.folder / ENVIRONMENT)
    if (task.folder / RAY_SESSIONS).exists():  # its launcher was killed
        from ..muster.ray import clear  # rarely needed, and it adds to the memory of every job

        clear(task.folder)


def explain(folder: Path) -> None:
    """Explain in the log if a failed job tried to write to a data set."""
    paths = list(read_json(folder / "state.json", {}).get("data", {}))
    if paths and read_json(folder / "end.json", {}).get("exit_code"):
        with contextlib.suppress(OSError):
            text = explain_refusal(folder / "log", paths)
            if text:
                with (folder / "log").open("ab") as log:
                    say(log, text)


def start(task: Task) -> subprocess.Popen[bytes]:
    """Start the command in its own session."""
    with contextlib.ExitStack() as opened:
        out: Any = task.pipe[1] if task.pipe else opened.enter_context((task.folder / "log").open("ab"))
        return subprocess.Popen(
            task.command,
            cwd=task.workdir,
            env=task.variables,
            stdin=out if task.terminal else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=take_terminal if task.terminal else unblock_signals,
        )


def finish(task: Task, pid: int) -> None:
    """Wait for the job, record its end, end its remaining processes, and drain its output into the log."""
    pouring = None
    if task.pipe:
        arguments = task.pipe[0], task.folder / "log", Mask(task.secrets)
        pouring = threading.Thread(target=pour, args=arguments, daemon=True)
        pouring.start()
    if task.pipe and task.terminal:
        threading.Thread(target=feed, args=(task.folder, task.pipe[0]), daemon=True).start()
    ending = wait(task, pid)
    if ending and ending.exit_code and not (ending.cancelled or ending.reason):
        ending = ending._replace(reason=name_full_disk())
    if task.tie:
        ending = conclude(task.tie, ending or lost_runner(), task)
    if ending:
        # Recorded before ending stragglers, which may take a while.
        record_end(task.folder, task.started_s, ending)
    end_descendants({})
    if pouring:
        pouring.join(GRACE_S)


def conclude(tie: AnyTie | None, ending: Ending, task: Task | None = None) -> Ending:
    """Return how a job ended; of one over several nodes, once it has ended on all of them.

    Without a task, its command has not started.
    """
    if tie is None:
        return ending
    tie.report(ending)
    end_descendants({})
    while not tie.is_over():
        caught = signal.sigtimedwait(SIGNALS, TICK_S)
        if caught and caught.si_signo == CANCEL and not tie.verdict:
            tie.foretell(Ending(128 + CANCEL, cancelled=True))
        if task and not find_left_s(task):
            tie.foretell(Ending(128 + CANCEL, reason=limit_text(task)))
    return tie.settle(ending)


def lost_runner() -> Ending:
    """Return how a job over several nodes ends if the process that watches the other nodes was killed."""
    return Ending(None, reason="its runner was killed", interrupted=True)


def wait(task: Task, pid: int) -> Ending | None:
    """Wait until the job ends by itself, by a signal to this process, or by its time limit.

    Returns None if it is not a child of this process, so that its exit code is unknown.
    """
    ended: dict[int, int] = {}
    cancelled, reason = False, ""
    while pid not in ended:
        # Signals are blocked, so one that arrives between the check and the wait is not lost.
        caught = signal.sigtimedwait(SIGNALS, find_left_s(task))
        number = caught.si_signo if caught else CANCEL
        if number != signal.SIGCHLD:
            cancelled = caught is not None and number == CANCEL
            if not cancelled:
                reason = task.stalled if caught else limit_text(task)
            by = ENDED_BY[signal.Signals(number)]
            if task.tie:
                task.tie.foretell(Ending(128 + by, cancelled, reason))
            end_descendants(ended, by)
        reap(ended)
        if pid not in ended and not is_child(pid):
            return None
    return Ending(ended[pid], cancelled, reason)


def find_left_s(task: Task) -> float:
    """Return how long a job may still run; 0 once its time limit is reached."""
    return max(task.started_s + task.time_limit_s - time.monotonic(), 0) if task.time_limit_s else 1e6


def limit_text(task: Task) -> str:
    """Return the recorded reason for a job that has reached its time limit."""
    return f"its time limit of {task.time_limit_s:g} s was reached"


def record_end(folder: Path, started_s: float | None, ending: Ending) -> None:
    """Record how a job ended and its duration on the monotonic clock; 0 if it never started."""
    seconds = None if started_s is None else time.monotonic() - started_s
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    end = {"ended_at": time.time(), "seconds": seconds, "peak_memory_bytes": peak_bytes, **ending._asdict()}
    write_reserved(folder / "end.json", end)
