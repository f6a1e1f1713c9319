"""What is measured of carrying: a project to the node, a log and an output home."""

import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench import content
from tests.bench.measure import BenchError, Measured, Side, interleave, peak, run, wall
from tests.bench.sizes import Sizes
from tests.bench.table import Row, at_least, at_most, under
from tests.bench.world import THEIRS, World

MEMORY_MB = 120
STEPS = (("first sync", 1.3), ("sync, nothing changed", 1.5), ("sync, one file changed", 1.5))
"""What is done with a project, and how long it may take, by rsync."""


def measure_sync(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what carrying a project takes beside rsync: all of it new, nothing changed, one file changed."""
    steps: dict[str, dict[str, list[Measured]]] = {}
    for number in range(sizes.warm_up + sizes.heavy_rounds):
        # To warm up, a small project will do. Each round's has content of its own, so that none of it is there already.
        counts = number >= sizes.warm_up
        count, size = (sizes.files, sizes.project_bytes) if counts else (sizes.files // 20, sizes.project_bytes // 20)
        for step, took in sync_round(world, world.folder / f"project-{number}", count, size):
            for side, measured in took.items():
                if counts:
                    steps.setdefault(step, {}).setdefault(side, []).append(measured)
    for step, bar in STEPS:
        for node in world.nodes:
            ours = wall(steps[step][node])
            if world.server:
                yield at_most(bar, f"{step}, by rsync -az", node, ours, wall(steps[step][THEIRS]))


def sync_round(world: World, project: Path, count: int, size_bytes: int) -> Iterator[tuple[str, dict[str, Measured]]]:
    """Yield what each side took for each step with one new project, which is removed afterwards."""
    content.make_project(project, count, size_bytes, world.env)
    place = world.folder / "theirs-sync"
    try:
        for step, _ in STEPS:
            command = ["true"]
            if step.endswith("one file changed"):
                token = uuid.uuid4().hex
                command = ["grep", "-q", token, content.change(project, token)]
            took = {}
            for node in world.nodes:
                took[node] = world.type(node, "run", "--detach", "--", *command, cwd=project)
                world.wait(node, took[node])
            if world.server:
                took[THEIRS] = world.theirs("rsync", "-az", "--exclude=.git", f"{project}/", f"bench:{place}/")
            yield step, took
    finally:
        content.remove(project)
        content.remove(place)


def measure_log(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield how fast a long log comes, beside cat by ssh, and our memory meanwhile."""
    size = str(sizes.log_bytes)
    theirs = world.folder / "theirs.log"
    run([sys.executable, "write_log.py", size], world.scripts, world.env, theirs)
    sides: dict[str, Side] = {}
    for node in world.nodes:
        number = world.wait(node, world.type(node, "run", "--detach", "write_log.py", size))
        seen = world.folder / "seen.log"
        world.type(node, "logs", "-f", str(number), stdout=seen)
        expect_size(seen, sizes.log_bytes)
        seen.unlink()
        sides[node] = partial(world.type, node, "logs", "-f", str(number))
    if world.server:
        sides[THEIRS] = lambda: world.theirs("ssh", "bench", f"cat {theirs}")
    what = f"log of {sizes.log_bytes // 10**6} MB"
    yield from throughput(
        world, f"{what}, by ssh cat", 0.5, sizes.log_bytes, interleave(sides, sizes.heavy_rounds, sizes.warm_up)
    )
    theirs.unlink()


def measure_fetch(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield how fast a large output comes home, beside scp, and our memory meanwhile."""
    size = str(sizes.output_bytes)
    source = world.folder / "theirs-fetch"
    source.mkdir()
    sides: dict[str, Side] = {}
    for node in world.nodes:
        number = world.wait(node, world.type(node, "run", "--detach", "write_output.py", size))
        sides[node] = partial(fetch, world, node, number, sizes.output_bytes)
    if world.server:
        run([sys.executable, str(world.scripts / "write_output.py"), size], source, world.env)
        sides[THEIRS] = partial(copy, world, source / "big.bin", sizes.output_bytes)
    what = f"fetch of {sizes.output_bytes // 10**6} MB"
    yield from throughput(
        world, f"{what}, by scp", 0.6, sizes.output_bytes, interleave(sides, sizes.heavy_rounds, sizes.warm_up)
    )
    content.remove(source)


def fetch(world: World, node: str, number: int, size_bytes: int) -> Measured:
    """Bring a job's one large output home and remove it again."""
    took = world.type(node, "fetch", str(number))
    expect_size(world.scripts / "runs" / f"{node}-{number}" / "files" / "big.bin", size_bytes)
    content.remove(world.scripts / "runs")
    return took


def copy(world: World, source: Path, size_bytes: int) -> Measured:
    """Copy a large file by scp and remove the copy again."""
    target = world.folder / "copy.bin"
    took = world.theirs("scp", f"bench:{source}", str(target))
    expect_size(target, size_bytes)
    target.unlink()
    return took


def expect_size(path: Path, size_bytes: int) -> None:
    """Raise BenchError unless a file is there and as long as it should be."""
    found = path.stat().st_size if path.exists() else 0
    if found != size_bytes:
        raise BenchError(f"{path.name} has {found} bytes instead of {size_bytes}")


def throughput(world: World, what: str, bar: float, size: int, took: dict[str, list[Measured]]) -> Iterator[Row]:
    """Yield rows of megabytes a second and of memory."""
    for node in world.nodes:
        if world.server:
            yield at_least(bar, what, node, size / 1e6 / wall(took[node]), size / 1e6 / wall(took[THEIRS]))
        yield under(MEMORY_MB, "MB", f"{what.split(',')[0]}, memory", node, peak(took[node]) / 1e6)
