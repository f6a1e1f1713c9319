"""An array on a node: its supervisor forks the dispatcher, and replaces one that was killed."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import trees
from ..data.mounts import Mount
from ..environment.overlay import ENVIRONMENT
from ..environment.variables import list_variables
from ..identities import identify
from ..job import runner
from ..job.runner import SIGNALS, lost_runner, record_end
from ..job.watch import stalled_text
from ..processes import adopt_orphans, end_descendants, reap, tell
from ..records import read_json, take_lock, write_json, write_runner
from ..snapshot.upkeep import start_upkeep
from ..tasks.trees import tasks_of
from .dispatcher import Dispatcher, Held
from .lead import Lead
from .member import Member
from .places import Places, needs_of
from .task import Work

if TYPE_CHECKING:
    from ..muster import AnyTie


def run_array(work: Work, locks: tuple[int | None, int], tie: AnyTie | None) -> None:
    """Fork the dispatcher and watch it until the array ends; continue in its place if it is killed.

    The locks are that of the one who watches, and that of the array's place in the queue.
    """
    watching, queued = locks
    tasks_of(work.folder).mkdir(exist_ok=True)
    if tie:
        tie.stop()
    dispatcher = os.fork()
    if dispatcher == 0:
        try:
            os.setsid()
            adopt_orphans()
            if watching is not None:
                os.close(watching)
            dispatch(work, tie, Held(queued))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(queued)
    start_upkeep(work.job.get("list", ""))
    ended: dict[int, int] = {}
    while dispatcher not in ended:
        caught = signal.sigtimedwait(SIGNALS, 1.0)
        if caught and caught.si_signo != signal.SIGCHLD:  # meant for the dispatcher, but sent before it existed
            tell(dispatcher, caught.si_signo)
        reap(ended)
    if ended[dispatcher] and not read_json(work.folder / "end.json"):
        stand_in(work, tie)
    end_descendants({})


def stand_in(work: Work, tie: AnyTie | None) -> None:
    """Continue in the place of a killed dispatcher; on several nodes, end what runs on this one.

    The connections to other nodes stay open until then, so that none of them runs a task that still runs here.
    """
    if tie:
        write_runner(work.folder, identify(os.getpid()))
        end_descendants({})
        record_end(work.folder, read_json(work.folder / "state.json")["started_s"], lost_runner())
        tie.close()
    else:
        dispatch(work, None, Held(take_lock(work.folder / "queued")))


def dispatch(work: Work, tie: Any, held: Held) -> None:
    """Run the tasks of an array on this node until it is over, and record how it ended."""
    folder, job = work.folder, work.job
    write_runner(folder, identify(os.getpid()))
    state = read_json(folder / "state.json")

    def record(gpus: list[int]) -> None:
        write_json(folder / "state.json", {**read_json(folder / "state.json"), "gpus": gpus})

    if tie:
        tie.start()
    desk = Member(folder, tie) if tie and tie.group.rank else Lead(folder, job["array"], tie)
    if not work.complete and isinstance(desk, Lead):
        desk.give_up("the values of its secrets were lost with the processes that were killed: no further task starts")
    places = Places(needs_of(int(folder.name), job), state["gpus"], record)
    dispatcher = Dispatcher(work, desk, places, held)
    gc.freeze()  # otherwise each runner that is forked would copy this process's memory as it is collected
    dispatcher.run()
    ending = desk.conclude()
    if tie:
        tie.leave(ending)
    record(sorted(places.ever))  # its cost is that of its share of the machine
    record_end(folder, state["started_s"], ending)
    trees.remove(folder / ENVIRONMENT)


def make_work(task: runner.Task, job: dict[str, Any], state: dict[str, Any]) -> Work:
    """Return what an array's tasks have in common, and record what a new dispatcher needs."""
    saved = {
        "command": task.command,
        "mounts": [[str(mount.source), str(mount.target)] for mount in task.mounts],
        "secret": bool(task.secrets),
        "own": task.variables["GPUJOB_PYTHON"],
    }
    state.update(work=saved, dispatched_s=time.monotonic())
    write_json(task.folder / "state.json", state)
    count = {"GPUJOB_TASKS": str(job["array"]["count"])}
    variables = {**task.variables, **count}
    return Work(task.folder, job, variables, task.command, task.secrets, task.mounts, task.stalled)


def load_work(folder: Path) -> Work:
    """Return the work of an array whose processes were killed, from its records."""
    state, job = read_json(folder / "state.json"), read_json(folder / "job.json")
    saved = state["work"]
    variables = list_variables(folder, job, state, saved["own"], {"GPUJOB_TASKS": str(job["array"]["count"])})
    mounts = tuple(Mount(Path(source), Path(target)) for source, target in saved["mounts"])
    return Work(folder, job, variables, saved["command"], [], mounts, stalled_text(job), complete=not saved["secret"])


def lead_again(folder: Path) -> None:
    """Go on with an array whose dispatcher and supervisor were both killed, in this process."""
    lock = os.open(folder / "lock", os.O_RDWR)  # until they end, the tasks that are running hold it
    threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX), daemon=True).start()
    adopt_orphans()
    dispatch(load_work(folder), None, Held(take_lock(folder / "queued")))
