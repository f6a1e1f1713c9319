"""What is measured, by name: each function yields rows of the table."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.bench import content
from tests.bench.by_hand import compare_by_hand
from tests.bench.carrying import measure_fetch, measure_log, measure_sync
from tests.bench.gpu import measure_gpu
from tests.bench.measure import BenchError, Side, cpu, interleave, run, wall
from tests.bench.renting import measure_up
from tests.bench.sizes import Sizes
from tests.bench.speed import measure_loaders, measure_speed
from tests.bench.steps import measure_steps
from tests.bench.table import Row, at_most, under
from tests.bench.training import measure_accuracy, measure_data, measure_loops, measure_start
from tests.bench.world import COMMAND, THEIRS, World, job_number
from tests.conftest import epoch

BLOCKER_S = 170


def measure_help(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what `gpujob --help` costs beside the import of click."""
    sides: dict[str, Side] = {
        "ours": lambda: run([*COMMAND, "--help"], world.scripts, world.env),
        THEIRS: lambda: run([sys.executable, "-c", "import click"], world.scripts, world.env),
    }
    took = interleave(sides, 2 * sizes.rounds, sizes.warm_up)
    yield at_most(2.5, "gpujob --help, CPU, by import click", "", cpu(took["ours"]), cpu(took[THEIRS]))


def measure_run(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what a job that does nothing takes, from the command to its end, beside the same by ssh."""
    home = world.folder / "theirs-run"
    home.mkdir(exist_ok=True)
    (home / "noop.py").write_text(content.SCRIPTS["noop.py"])
    sides: dict[str, Side] = {node: partial(world.type, node, "run", "noop.py") for node in world.nodes}
    if world.server:
        sides[THEIRS] = lambda: world.theirs("ssh", "bench", f"python3 {home}/noop.py")
    took = interleave(sides, sizes.rounds, sizes.warm_up)
    for node in world.nodes:
        if world.server:
            yield at_most(2.5, "run noop.py, by ssh python3 noop.py", node, wall(took[node]), wall(took[THEIRS]))
        yield under(1, "s", "run noop.py", node, wall(took[node]))


def measure_queue(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield how long each of many jobs takes that do nothing, from the first start to the last end.

    They wait behind a job that is then cancelled, so that with a queue their submission is not counted. One node will do:
    to submit them is what takes long here, and it is the node that is measured.
    """
    for node in world.nodes[-1:]:
        blocker = job_number(world.type(node, "run", "--detach", "--", "sleep", str(BLOCKER_S)))
        numbers = {job_number(world.type(node, "run", "--detach", "--", "true")) for _ in range(sizes.jobs)}
        world.type(node, "cancel", "--cluster", node, str(blocker))
        deadline = time.monotonic() + BLOCKER_S
        mine = [job for job in world.jobs(node) if job["number"] in numbers]
        while any(job["ended_at"] is None for job in mine) and time.monotonic() < deadline:
            mine = [job for job in world.jobs(node) if job["number"] in numbers]
        if any(job["state"] != "succeeded" for job in mine) or len(mine) != sizes.jobs:
            raise BenchError(f"not all of {sizes.jobs} jobs on {node} succeeded")
        span = max(epoch(job["ended_at"]) for job in mine) - min(epoch(job["started_at"]) for job in mine)
        yield under(0.3, "s", f"{sizes.jobs} jobs, true, each", node, span / sizes.jobs)


ROWS: dict[str, Callable[[World, Sizes], Iterator[Row]]] = {
    "help": measure_help,
    "run": measure_run,
    "sync": measure_sync,
    "steps": measure_steps,
    "by-hand": compare_by_hand,
    "log": measure_log,
    "fetch": measure_fetch,
    "queue": measure_queue,
    "up": measure_up,
    "train-start": measure_start,
    "train-data": measure_data,
    "train-loop": measure_loops,
    "train-accuracy": measure_accuracy,
    "train-speed": measure_speed,
    "train-jpeg": measure_loaders,
    "gpu": measure_gpu,
}
NO_CLOUD = {name for name in ROWS if name.startswith("train-")} | {"gpu"}
"""Rows that need no cluster."""
