"""Killed at any call to AWS, before it or after: every machine has a lease, is listed, and can be given back.

`GPUJOB_EVERY_POINT=1` tries every call. Otherwise those that only look are passed over, save the first: between two calls that
change something the world stays as it is, wherever the command dies.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from infra.local.cloud.server import control
from tests.cloudwatch import Watch, keep_alive, watch
from tests.conftest import Finished, Laptop, make_laptop
from tests.typist import Typed

EVERY_POINT = bool(os.environ.get("GPUJOB_EVERY_POINT"))
pytestmark = pytest.mark.timeout(3600 if EVERY_POINT else 400)

DEADLINE_S = 600 if EVERY_POINT else 120
AT_ONCE = 6
KILLED = -signal.SIGKILL
NODES = 2
UP = ("up", "--dry-run", "--nodes", str(NODES), "--max-hours", "2")
DOWN = ("down", "--dry-run", "--force", "--if-exists")


@dataclass(frozen=True)
class World:
    """A laptop and its local cloud."""

    laptop: Laptop
    watch: Watch

    def kill(self, points: Iterable[tuple[tuple[str, ...], str]]) -> list[int]:
        """Run commands, each killed at its point, all at once; return how each ended."""
        points = list(points)
        prepared = [self.laptop.prepare(*words) for words, _ in points]
        faults = [f"kill={process.pid}:{point}" for process, (_, point) in zip(prepared, points, strict=True)]
        control.add_faults(self.watch.cloud, *faults)
        codes = [ended.code for ended in finish(prepared)]
        control.clear_faults(self.watch.cloud)
        return codes

    def type_all(self, *commands: tuple[str, ...]) -> list[Finished]:
        """Run commands at the same time; return how each ended."""
        return finish([self.laptop.prepare(*words) for words in commands])

    def calls_of(self, *words: str) -> list[str]:
        """Run a command to its end, and list the calls that it made."""
        control.clear_trail(self.watch.cloud)
        done = self.laptop.type(*words)
        assert done.code == 0, done.said
        return [event["action"] for event in control.read_trail(self.watch.cloud) if not event["inner"]]


def finish(prepared: list[Typed]) -> list[Finished]:
    """Let prepared commands run at the same time; return how each ended."""
    for process in prepared:
        process.send_signal(signal.SIGCONT)
    return [Finished.of(process, DEADLINE_S) for process in prepared]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    laptop = make_laptop(tmp_path_factory.mktemp("crash"))
    try:
        laptop.type("check", "--dry-run")
        watching = watch(laptop)
        keep_alive(watching)
        yield World(laptop, watching)
    finally:
        laptop.give_back()


def batched(points: list[str]) -> list[list[str]]:
    """Return the points a few at a time."""
    return [points[start : start + AT_ONCE] for start in range(0, len(points), AT_ONCE)]


def points_in(calls: list[str]) -> list[str]:
    """Return where to kill a command that makes these calls."""
    if EVERY_POINT:
        return [f"{number}:{when}" for number in range(1, len(calls) + 1) for when in ("before", "after")]
    counts = Counter(call for call in calls if not call.startswith(("Describe", "Get", "Decode")))
    named = [f"{call}.{number}" for call, count in counts.items() for number in range(1, count + 1)]
    assert len(named) > 3, calls  # what creates or deletes, each by a call of its own
    return ["1:before", *(f"{call}:{when}" for call in named for when in ("before", "after"))]


def check_machines(world: World) -> None:
    """Every machine that runs has a lease that will end it, and `ls` shows it."""
    living = world.watch.living()
    for instance in living:
        end = world.watch.lease_end_s(instance["InstanceId"])
        assert end is not None and time.time() < end < time.time() + 2 * 3600 + 60, instance
    listed = world.laptop.type("ls", "--dry-run", "--json")
    assert listed.code == 0, listed.said
    shown = {node["instance_id"] for cluster in json.loads(listed.out) for node in cluster["nodes"]}
    assert {instance["InstanceId"] for instance in living} <= shown


def give_back(world: World, names: list[str]) -> None:
    """Type `down` for each, and see that nothing of ours is left."""
    for down in world.type_all(*((*DOWN, name) for name in names)):
        assert down.code == 0, down.said
    assert world.watch.remains() == []


def tell(capsys: pytest.CaptureFixture[str], what: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{what}\n")


def test_an_up_killed_at_any_call_leaves_only_what_has_a_lease_and_can_be_given_back(world, capsys):
    world.calls_of(*UP, "whole")  # what is kept of the offers makes the next one shorter
    give_back(world, ["whole"])
    points = points_in(world.calls_of(*UP, "whole"))
    give_back(world, ["whole"])
    killed = 0
    for batch in batched(points):
        names = [f"c{n}" for n in range(len(batch))]
        codes = world.kill([((*UP, name), point) for name, point in zip(names, batch, strict=True)])
        assert set(codes) <= {KILLED, 0}, codes
        killed += codes.count(KILLED)
        check_machines(world)
        give_back(world, names)
    tell(capsys, f"up: killed at {killed} of {len(points)} points")
    assert killed == len(points) or EVERY_POINT


def test_a_down_killed_at_any_call_can_be_typed_again(world, capsys):
    rent_without_hosts(world, ["whole"])
    points = points_in(world.calls_of(*DOWN, "whole"))
    killed = 0
    for batch in batched(points):
        names = [f"d{n}" for n in range(len(batch))]
        rent_without_hosts(world, names)
        codes = world.kill([((*DOWN, name), point) for name, point in zip(names, batch, strict=True)])
        assert set(codes) <= {KILLED, 0}, codes
        killed += codes.count(KILLED)
        check_machines(world)
        give_back(world, names)
    tell(capsys, f"down: killed at {killed} of {len(points)} points")
    assert killed == len(points) or EVERY_POINT


def rent_without_hosts(world: World, names: list[str]) -> None:
    """Rent clusters whose machines never boot, which a `down` does not need: it is quicker so."""
    control.add_faults(world.watch.cloud, "boot=3600")
    codes = world.kill([((*UP, name), "CreateFleet:after") for name in names])
    assert codes == [KILLED] * len(names)
    assert len(world.watch.living()) == NODES * len(names)


def test_the_same_up_goes_on_where_it_was_killed(world):
    world.kill([((*UP, "again"), "CreateFleet:after")])
    before = {one["InstanceId"] for one in world.watch.living()}
    up = world.laptop.type(*UP, "again")
    assert up.code == 0, up.said
    assert {one["InstanceId"] for one in world.watch.living()} == before
    assert len(before) == NODES
    give_back(world, ["again"])


def test_the_same_up_goes_on_though_a_newer_image_has_been_released_since(world):
    world.kill([((*UP, "run"), "CreateFleet:after"), ((*UP, "made"), "CreateLaunchTemplate:after")])
    before = {one["InstanceId"] for one in world.watch.living()}
    assert len(before) == NODES
    control.add_faults(world.watch.cloud, "released")
    try:
        for up in world.type_all((*UP, "run"), (*UP, "made")):
            assert up.code == 0, up.said
    finally:
        control.clear_faults(world.watch.cloud)
    after = {one["InstanceId"] for one in world.watch.living()}
    assert before <= after
    assert len(after) == 2 * NODES
    give_back(world, ["run", "made"])


def test_an_up_killed_in_the_middle_of_its_search_launches_nothing_twice(world):
    """The second request has the machines, but the killed command never learned that, and EC2 does not show them yet."""
    control.add_faults(world.watch.cloud, "no-capacity=g4dn.xlarge", "invisible=10")
    control.clear_trail(world.watch.cloud)
    command = world.laptop.prepare(*UP, "sought")
    control.add_faults(world.watch.cloud, f"kill={command.pid}:CreateFleet.2:after")
    assert finish([command])[0].code == KILLED
    up = world.laptop.type(*UP, "sought")
    control.clear_faults(world.watch.cloud)
    assert up.code == 0, up.said
    assert len(world.watch.living()) == NODES
    sent = [
        one["params"]["ClientToken"] for one in control.read_trail(world.watch.cloud) if one["action"] == "CreateFleet"
    ]
    assert len(sent) - len(set(sent)) == 1  # only the one that was recorded is sent again
    give_back(world, ["sought"])
