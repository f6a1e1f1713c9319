"""What `up` takes on a cloud that is as slow as AWS: beyond the machine's boot, and for many machines beside one."""

from collections.abc import Iterator
from typing import Any

from infra.local import process
from infra.local.cloud.server import control
from infra.local.record import LocalCloud
from tests.bench.measure import BenchError, Measured, Side, interleave, wall
from tests.bench.sizes import Sizes
from tests.bench.table import Row, at_most, under
from tests.bench.world import LOCAL, World

CALL_S = 0.1
BOOT_S = 5.0
NODES = 8


def measure_up(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what `up` takes beyond the boot, with its calls that wait for one another, and what eight machines take by one."""
    cloud = process.find(world.folder / "home/.local/state/gpujob/local")
    if cloud is None:
        raise BenchError("the local cloud does not run")
    sides: dict[str, Side] = {name_of(count): make_side(world, cloud, count) for count in (1, NODES)}
    took = interleave(sides, sizes.rounds, 1)
    control.clear_trail(cloud)
    rent(world, cloud, 1)
    chain = count_chain(control.read_trail(cloud))
    give_back(world, 1)
    one, many = wall(took[name_of(1)]), wall(took[name_of(NODES)])
    pace = f"{CALL_S * 1000:.0f} ms a call"
    yield under(3, "s", f"up beyond a boot of {BOOT_S:.0f} s, {pace}, {chain} calls in a row", LOCAL, one - BOOT_S)
    yield at_most(1.3, f"up --nodes {NODES}, by up --nodes 1, {pace}", LOCAL, many, one)


def make_side(world: World, cloud: LocalCloud, count: int) -> Side:
    """Return what rents so many machines on a slow cloud, and gives them back on a quick one."""

    def side() -> Measured:
        took = rent(world, cloud, count)
        give_back(world, count)
        return took

    return side


def rent(world: World, cloud: LocalCloud, count: int) -> Measured:
    """Rent so many machines while every call and every boot takes its time."""
    control.add_faults(cloud, f"latency={CALL_S * 1000:.0f}", f"boot={BOOT_S:.0f}")
    try:
        return world.type(name_of(count), "up", name_of(count), "--dry-run", "--nodes", str(count), "--yes")
    finally:
        control.clear_faults(cloud)


def give_back(world: World, count: int) -> None:
    """End what was rented."""
    world.type(name_of(count), "down", name_of(count), "--force", "--dry-run")


def name_of(count: int) -> str:
    """Return the name of the cluster of so many machines."""
    return f"rent{count}"


def count_chain(events: list[dict[str, Any]]) -> int:
    """Return how many calls of a command waited for one another: each counted began after the one before it was over."""
    chain, over_s = 0, 0.0
    for event in sorted((event for event in events if not event["inner"]), key=lambda event: float(event["at_s"])):
        if event["at_s"] >= over_s:
            chain, over_s = chain + 1, event["at_s"] + CALL_S
    return chain
