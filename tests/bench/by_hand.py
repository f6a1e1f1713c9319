"""A job by gpujob beside the same by hand with rsync, ssh and uv: time, and bytes over the network.

By hand, nothing is recorded, nothing survives a lost connection, and a second job at the same time would share the folder.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.bench import content
from tests.bench.measure import Measured, run
from tests.bench.sizes import Sizes
from tests.bench.table import Row
from tests.bench.wire import Wire, tap
from tests.bench.world import OPENSSH, World, state_of
from tests.projects.shapes import HATCH, SHAPES, UV
from tests.wheels import write_wheel

VENV = "uv venv --quiet --allow-existing .venv && uv pip install --quiet --requirement requirements.txt"
# What is typed on the machine, by the shape of the project, and the file that is downloaded afterwards.
BY_HAND = {
    "flat requirements": (f"{VENV} && .venv/bin/python train.py", "model.pt"),
    "uv package": ("uv run --quiet --locked python -m shop.train", "result.txt"),
    "uv workspace": ("uv run --quiet --locked --package app app", "answer.txt"),
}
STEPS = ("first run", "one file changed", "dependencies changed")


@dataclass(frozen=True)
class Took:
    """What one run took."""

    wall_s: float
    carried_bytes: int


def compare_by_hand(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what a run takes, for projects of three shapes, beside the same by hand, on the OpenSSH server."""
    if not world.server:
        return
    took: dict[tuple[str, str], dict[str, list[Took]]] = {}
    with wired(world) as (tapped, wire):
        for number in range(sizes.warm_up + sizes.heavy_rounds):
            for shape in BY_HAND:
                for step, sides in measure_round(tapped, wire, shape, number):
                    if number >= sizes.warm_up:
                        for side, measured in sides.items():
                            took.setdefault((shape, step), {}).setdefault(side, []).append(measured)
    for (shape, step), sides in took.items():
        ours, theirs = (sorted(sides[side], key=lambda each: each.wall_s) for side in ("ours", "theirs"))
        yield make_row(f"{shape}, {step}", "s", *(each[len(each) // 2].wall_s for each in (ours, theirs)))
        yield make_row(
            "  over the network", "kB", *(min(b.carried_bytes for b in each) / 1000 for each in (ours, theirs))
        )


def make_row(what: str, unit: str, ours: float, theirs: float) -> Row:
    """Return a row without a bar."""
    return Row(what, OPENSSH, f"{ours:.2f} {unit}", f"{theirs:.2f} {unit}", f"{ours / theirs:.2f}", "", "")


def measure_round(world: World, wire: Wire, shape: str, number: int) -> Iterator[tuple[str, dict[str, Took]]]:
    """Yield what each side took for each step with a new project, whose dependencies are on no machine yet."""
    project = world.folder / "by-hand"
    place = world.folder / f"sshd/home/{shape.replace(' ', '-')}-{number}"
    command, output = BY_HAND[shape]
    hand = [
        ["rsync", "-e", f"ssh -F {ssh_config(world)}", "-az", "--exclude=/runs", f"{project}/", f"bench:{place}/"],
        ["ssh", "-F", str(ssh_config(world)), "bench", f"export UV_OFFLINE=1; cd {place} && {command}"],
        ["rsync", "-e", f"ssh -F {ssh_config(world)}", "-az", f"bench:{place}/{output}", f"{world.folder}/"],
    ]
    try:
        write_project(world, project, shape, number)
        for step in STEPS:
            if step == "one file changed":
                with next(iter(sorted(project.rglob("*.py")))).open("a") as file:
                    file.write(f"\n# {number}\n")
            elif step == "dependencies changed":
                write_dependency(world, project, f"2.{number}")
            ours = [
                partial(world.type, OPENSSH, "run", "--env", "UV_OFFLINE=1", *SHAPES[shape].run.split(), cwd=project)
            ]
            theirs = [partial(run, each, project, world.env) for each in hand]
            yield step, {"ours": add_up(wire, ours), "theirs": add_up(wire, theirs)}
    finally:
        content.remove(project)
        content.remove(place)


def add_up(wire: Wire, parts: Sequence[Callable[[], Measured]]) -> Took:
    """Run programs one after another; return what all took."""
    wire.take()
    return Took(sum(part().wall_s for part in parts), wire.take())


def write_project(world: World, project: Path, shape: str, number: int) -> None:
    """Write a project of a shape, with a dependency of a version of its own."""
    files = {name: text for name, text in SHAPES[shape].files.items() if name != "uv.lock"}  # locked below
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text.replace(HATCH, UV))  # uv has that backend with it: nothing is fetched
    (project / "wheels").mkdir()
    write_dependency(world, project, f"1.{number}")


def write_dependency(world: World, project: Path, version: str) -> None:
    """Require another version of the dependency."""
    for path in (project / "wheels").iterdir():
        path.unlink()
    write_wheel(project / "wheels", "tiny", version)
    if (project / "requirements.txt").exists():
        (project / "requirements.txt").write_text(f"--find-links wheels\ntiny=={version}\n")
    else:
        lock = [sys.executable, "-m", "uv", "lock", "--offline", "--quiet", "--upgrade"]
        subprocess.run(lock, cwd=project, env={**world.env, "UV_PYTHON": sys.executable}, check=True, timeout=60)


def ssh_config(world: World) -> Path:
    """Return the configuration with which OpenSSH's programs reach the server."""
    assert world.server
    return world.server.client


@contextmanager
def wired(world: World) -> Iterator[tuple[World, Wire]]:
    """Yield a world whose server is reached through a proxy that counts."""
    assert world.server
    record, client = state_of(world.folder, OPENSSH) / "cluster.json", world.server.client.with_name("ssh_config_wired")
    before, known = record.read_text(), world.server.client.with_name("known_hosts")
    with tap(world.server.port) as wire:
        cluster = json.loads(before)
        cluster["nodes"][0]["port"] = wire.port
        record.write_text(json.dumps(cluster))
        client.write_text(world.server.client.read_text().replace(f"Port {world.server.port}", f"Port {wire.port}"))
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{wire.port} {world.server.host_key}\n")
        try:
            yield replace(world, server=replace(world.server, client=client)), wire
        finally:
            record.write_text(before)
