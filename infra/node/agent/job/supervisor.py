"""Supervise one job: queue it, prepare it, fork its runner, and watch it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, NamedTuple

from ..environment.dependencies import complete_plan, name_indexes, prepare
from ..environment.overlay import ENVIRONMENT, make_environment
from ..environment.project.install import install_projects
from ..environment.project.interpreters import choose_interpreter
from ..environment.project.search import find_projects, start_of
from ..environment.variables import list_variables
from ..identities import identify
from ..inputs.waiting import get_ready, out_of_queue, place_data
from ..machine import read_driver
from ..outputs.built import record_built
from ..processes import adopt_orphans, descendants, end_descendants, fork, reap, tell
from ..records import (
    HOME,
    NOTEBOOK,
    RAY,
    AgentError,
    Ending,
    folder_of,
    read_json,
    read_runner,
    take_lock,
    work_of,
    write_json,
    write_runner,
)
from ..room import explain
from ..snapshot.upkeep import start_upkeep
from ..terminal import open_terminal
from .mask import maskable
from .queue import can_rewind, forget_waiting, wait_for_gpus, wait_in_queue
from .runner import CANCEL, SIGNALS, Task, conclude, finish, lost_runner, record_end, run
from .watch import Watch, stalled_text

if TYPE_CHECKING:
    from ..muster import AnyTie

INTERPRETERS = HOME / "interpreters.json"


class CancelledError(Exception):
    """The job was cancelled before its command started."""


class Array(NamedTuple):
    """An array whose tasks can start: what each of them runs, its record and its state."""

    task: Task
    job: dict[str, Any]
    state: dict[str, Any]
    locks: tuple[int | None, int]
    """That of the one who watches, and that of the place in the queue."""


def supervise(number: str, queued: str, *link: str) -> Array | None:
    """Queue, prepare, run and watch the job; secret values are on stdin.

    Returns an array once its tasks can start. A process restarted in the queue calls this again; `link` is a socket of a part.
    """
    folder = folder_of(number)
    job, private = read_json(folder / "job.json"), json.load(sys.stdin)
    secrets = private["secrets"]
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    forget_waiting(int(queued))
    state: dict[str, Any] = {**read_json(folder / "state.json", {}), "supervisor": identify(os.getpid())}
    tie = None
    try:
        # Written first, so that an early cancel finds the process to signal.
        write_json(folder / "state.json", state)
        tie = join_others(folder, job, private, link)
        get_data(folder, job, state, secrets, int(queued), tie)

        def take(gpus: list[int]) -> None:
            state["gpus"] = gpus
            write_json(folder / "state.json", state)

        with cancellable():
            wait_for_turn(int(number), job, tie, take)
        state.update(started_at=time.time(), started_s=time.monotonic(), driver=read_driver())
        write_json(folder / "state.json", state)
        if not job.get("array"):  # otherwise once all of its tasks have started
            os.close(int(queued))
        if tie:
            tie.start()
        watching = take_lock(folder / "watched")
        own = prepare_environment(folder, job, state, private)
        with cancellable():
            mounts = place_data(folder, state["data"])
        begin(folder, state, tie, own if job["command"][0] == "torchrun" else "")
        hidden = {**secrets, **(tie.secrets if tie else {})}
        task = make_task(folder, job, state, own, hidden)._replace(mounts=mounts, tie=tie)
    except CancelledError:
        end_early(folder, state, tie, Ending(128 + signal.SIGTERM, cancelled=True))
    except (AgentError, OSError) as error:  # usually a full disk
        reason = explain(error) if isinstance(error, OSError) else str(error)
        end_early(folder, state, tie, Ending(1, reason=reason))
    else:
        if job.get("array"):
            return Array(task, job, state, (watching, int(queued)))
        fork_runner(task, watching, Watch(folder, job, task.secrets))
        return None
    end_descendants({})
    return None


def get_data(
    folder: Path, job: dict[str, Any], state: dict[str, Any], secrets: dict[str, str], queued: int, tie: AnyTie | None
) -> None:
    """Wait for all parts of a job and for its data sets, whose versions are recorded; raises AgentError."""
    with cancellable():
        if tie:
            tie.wait_until_received(partial(out_of_queue, queued))
        data = state["data"] if "data" in state else get_ready(folder, job, secrets, queued)
    state["data"] = data
    write_json(folder / "state.json", state)


def join_others(folder: Path, job: dict[str, Any], private: dict[str, Any], link: tuple[str, ...]) -> AnyTie | None:
    """Return what ties a part to the others; None for a job on one node. Raises AgentError."""
    if not job.get("part"):  # earlier agents, whose jobs may be queued, had none
        return None
    from ..muster import join  # rarely needed, and it adds to the memory and the start-up of every job

    with cancellable():
        return join(folder, job["part"], private["key"], link)


def wait_for_turn(number: int, job: dict[str, Any], tie: AnyTie | None, take: Callable[[list[int]], None]) -> None:
    """Wait in the queue and for free GPUs, recorded with `take`.

    Of a job over several nodes, only part 0 queues: two such jobs cannot wait for each other's GPUs.
    """
    if tie is None or not tie.group.rank:
        wait_in_queue(number, count_gpus(job), job["slots"], take)
    else:
        tie.wait_for_call(small=can_rewind())
        wait_for_gpus(number, count_gpus(job), job["slots"], take)


def begin(folder: Path, state: dict[str, Any], tie: AnyTie | None, python: str) -> None:
    """Wait until all parts of a job are ready; those of an array do not wait. Raises AgentError.

    If torchrun starts it, all must have the same torch, and `python` is the interpreter that has it.
    """
    if tie and tie.inbox is None:
        from ..muster.versions import read_torch

        with cancellable(), (folder / "log").open("ab") as log:
            tie.begin(log, read_torch(python) if python else "")
        state["port"] = tie.port
        write_json(folder / "state.json", state)


def end_early(folder: Path, state: dict[str, Any], tie: AnyTie | None, ending: Ending) -> None:
    """Record the end of a job whose command has not started."""
    if tie and not tie.thread:
        tie.start()
    record_end(folder, state.get("started_s"), conclude(tie, ending))


def prepare_environment(folder: Path, job: dict[str, Any], state: dict[str, Any], private: dict[str, Any]) -> str:
    """Install the job's dependencies and its project; return the interpreter of its own environment."""
    work, base = work_of(folder), job["python"]
    start = start_of(job["command"], work / job["workdir"])
    if job["no_deps"]:
        with cancellable():
            return make_environment(folder / ENVIRONMENT, base, base, INTERPRETERS)
    with cancellable(), (folder / "log").open("ab") as log:
        if not job["python_chosen"]:
            base = state["base"] = choose_interpreter(work, start, base, log)
        plan, variables = complete_plan(job, private["secrets"], private["credentials"])
        state["python"], state["dependencies"] = prepare(work, plan, base, log, variables)
        write_json(folder / "state.json", state)
        own = make_environment(folder / ENVIRONMENT, state["python"], base, INTERPRETERS)
        required = [work / named for named, _ in (plan["projects"] if plan else ())]
        projects = find_projects(work, start, [own, base], required)
        if install_projects(own, projects, work, log, {**variables, **name_indexes(plan, variables)}):
            record_built(folder)
    return own


def make_task(folder: Path, job: dict[str, Any], state: dict[str, Any], own: str, secrets: dict[str, str]) -> Task:
    """Return the task for the runner; `own` is the interpreter of the job's own environment."""
    variables = list_variables(folder, job, state, own, describe_nodes(job, state, folder))
    hidden = maskable(list(secrets.values()))
    terminal = job.get("terminal")  # earlier agents, whose jobs may be queued, had none
    return Task(
        folder=folder,
        command=words_of(job["command"], variables["GPUJOB_PYTHON"], folder),
        variables={**variables, **secrets},
        workdir=work_of(folder) / job["workdir"],
        started_s=state["started_s"],
        time_limit_s=job["time_limit_s"] if not (job.get("part") or {}).get("rank") else None,  # part 0 ends all
        stalled=stalled_text(job),
        secrets=hidden,
        pipe=open_terminal(terminal) if terminal else os.pipe() if hidden and not job.get("array") else None,
        terminal=bool(terminal),
    )


def words_of(command: list[str], python: str, folder: Path) -> list[str]:
    """Return the command that starts a job; a notebook and Ray are started by the agent itself."""
    agent = [sys.executable, "-I", "-S", str(Path(sys.argv[0]).resolve())]
    if command == NOTEBOOK:
        return [*agent, "notebook"]
    if command[:2] == RAY:
        return [*agent, "ray", str(folder), *words_of(command[2:], python, folder)]
    return [python if command[0] == "python" else command[0], *command[1:]]


def fork_runner(task: Task, watching: int | None, watch: Watch) -> None:
    """Fork the runner and watch the job until it ends; replace the runner if it is killed."""
    if task.tie:
        task.tie.stop()

    def begin_task() -> None:
        release(watching)
        run(task)

    runner = fork(begin_task)
    if task.tie:
        task.tie.close()  # the others see when the runner is killed
    start_upkeep(watch.job.get("list", ""))
    if task.pipe:
        os.close(task.pipe[1])  # the read end stays open here too: without a reader, the job would die of SIGPIPE
    ended: dict[int, int] = {}
    while runner not in ended:
        caught = signal.sigtimedwait(SIGNALS, watch.tick_s)
        if caught is None:
            watch.look_if_due(descendants, runner)
        elif caught.si_signo != signal.SIGCHLD:  # meant for the runner, but sent before it existed
            tell(runner, caught.si_signo)
        reap(ended)
    if ended[runner]:
        stand_in(task, watching)


def stand_in(task: Task, watching: int | None) -> None:
    """Finish the job of a killed runner; the next request for the job starts a supervisor."""
    _, main = read_runner(task.folder)
    if main and not read_json(task.folder / "end.json"):
        write_runner(task.folder, identify(os.getpid()), main)
        release(watching)
        if task.tie:  # no process hears of the other nodes any more
            record_end(task.folder, task.started_s, lost_runner())
        else:
            finish(task, main[0])
    end_descendants({})


def release(descriptor: int | None) -> None:
    """Close a lock descriptor, if there is one."""
    if descriptor is not None:
        os.close(descriptor)


def count_gpus(job: dict[str, Any]) -> int:
    """Return how many GPUs a job waits for."""
    everything = min(job["slots"], 1) if job.get("array") else job["slots"]  # of an array, those of its first task
    return int(everything if job["gpus"] is None else job["gpus"])


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Let a cancel (SIGTERM) interrupt this block with CancelledError."""

    def give_up(*_: Any) -> None:
        raise CancelledError

    signal.signal(CANCEL, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {CANCEL})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {CANCEL})


def describe_nodes(job: dict[str, Any], state: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return the variables of a part of a job over several nodes."""
    if not job.get("part") or job.get("array"):
        return {}
    from ..muster.variables import describe_part

    return describe_part(job["part"], len(state["gpus"]), state["port"], folder)
