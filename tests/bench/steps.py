"""What carrying a project takes by itself, where a connection stands already: ours, and rsync over a shared one of OpenSSH's."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.model import Cluster, Request
from infra.project.files import read_project
from infra.run import submission
from infra.ssh.connection import connect
from tests.bench import content
from tests.bench.carrying import STEPS
from tests.bench.measure import Measured, run
from tests.bench.sizes import Sizes
from tests.bench.table import Row, at_most
from tests.bench.world import OPENSSH, World, state_of

BARS = (1.0, 0.5, 0.5)
"""Stricter than for the whole commands: here neither side starts a program or connects."""


def measure_steps(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what reading, comparing and sending takes beside rsync's, on the OpenSSH server."""
    if not world.server:
        return
    os.environ["XDG_CACHE_HOME"] = str(world.folder / "cache")  # where our own process remembers hashes
    record = state_of(world.folder, OPENSSH) / "cluster.json"
    os.environ["XDG_STATE_HOME"] = str(record.parents[3])  # and finds key and host keys
    cluster = Cluster.from_dict(json.loads(record.read_text()))
    took: dict[str, tuple[list[float], list[float]]] = {step: ([], []) for step, _ in STEPS}
    with connect(cluster) as connection, share(world) as shared:
        for number in range(sizes.heavy_rounds):
            project = world.folder / f"steps-{number}"
            place = world.folder / "theirs-steps"
            content.make_project(project, sizes.files, sizes.project_bytes, world.env)
            for step, _ in STEPS:
                if step.endswith("one file changed"):
                    content.change(project, uuid.uuid4().hex)
                began = time.perf_counter()
                request = Request(("true",), no_deps=True)
                job = submission.Submission(read_project(project), request, None, None)
                submission.submit(connection, job, lambda _: None, lambda _: None)
                took[step][0].append(time.perf_counter() - began)
                took[step][1].append(rsync(world, shared, project, place).wall_s)
            content.remove(project)
            content.remove(place)
    for (step, _), bar in zip(STEPS, BARS, strict=True):
        ours, theirs = (sorted(times)[len(times) // 2] for times in took[step])
        yield at_most(bar, f"{step}, connected, by rsync -az", OPENSSH, ours, theirs)


@contextmanager
def share(world: World) -> Iterator[Path]:
    """Yield the socket of a connection that OpenSSH's programs share."""
    assert world.server
    socket = world.folder / "shared"
    ssh = ["ssh", "-F", str(world.server.client), "-S", str(socket)]
    subprocess.run([*ssh, "-M", "-f", "-N", "bench"], env=world.env, check=True, timeout=30)
    try:
        yield socket
    finally:
        subprocess.run([*ssh, "-O", "exit", "bench"], env=world.env, check=False, timeout=30, capture_output=True)


def rsync(world: World, socket: Path, project: Path, place: Path) -> Measured:
    """Carry a project by rsync over the shared connection."""
    assert world.server
    shell = f"ssh -F {world.server.client} -S {socket}"
    return run(["rsync", "-e", shell, "-az", "--exclude=.git", f"{project}/", f"bench:{place}/"], project, world.env)
