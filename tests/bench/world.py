"""Where it all happens: a folder with a home of its own, the local cloud, an OpenSSH server, and the commands typed there."""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import reaper
from infra.ssh import keys
from tests.bench import content, sshd
from tests.bench.measure import BenchError, Measured, run

REPOSITORY = Path(__file__).parents[2]
# As the tests start it: the code beside this file, whatever is installed.
COMMAND = [sys.executable, str(REPOSITORY / "cli" / "__main__.py")]
LOCAL, OPENSSH = "local", "openssh"
THEIRS = "theirs"
JOB_S = 120.0


@dataclass(frozen=True)
class World:
    """The temporary folder, the environment of commands in it, and the nodes there are."""

    folder: Path
    env: dict[str, str]
    scripts: Path
    """A small project whose scripts the jobs run."""
    server: sshd.Server | None
    nodes: tuple[str, ...]
    """The clusters to measure on."""

    def type(self, node: str, *words: str, cwd: Path | None = None, stdout: Path | None = None) -> Measured:
        """Run gpujob to its end, for one of the nodes."""
        return run([*COMMAND, *words], cwd or self.scripts, {**self.env, "GPUJOB_CLUSTER": node}, stdout)

    def theirs(self, program: str, *words: str) -> Measured:
        """Run ssh, scp or rsync, with their configuration; the server is called "bench" in it."""
        assert self.server
        client = str(self.server.client)
        settings = ["-e", f"ssh -F {client}"] if program == "rsync" else ["-F", client]
        return run([program, *settings, *words], self.scripts, self.env)

    def jobs(self, node: str) -> list[dict[str, Any]]:
        """Return all jobs of a node."""
        answer = self.folder / "jobs.json"
        self.type(node, "jobs", "--json", stdout=answer)
        return list(json.loads(answer.read_text()))

    def wait(self, node: str, started: Measured) -> int:
        """Wait until the job that a `run --detach` started has succeeded; return its number."""
        number = job_number(started)
        deadline = time.monotonic() + JOB_S
        while time.monotonic() < deadline:
            job = next(job for job in self.jobs(node) if job["number"] == number)
            if job["state"] == "succeeded":
                return number
            if job["ended_at"] is not None:
                raise BenchError(f"job {number} on {node} {job['state']}: {job['command']}")
        raise BenchError(f"job {number} on {node} does not end")


def job_number(started: Measured) -> int:
    """Return the number of the job that a `run --detach` started."""
    found = re.search(r"^job (\d+)", started.said, re.MULTILINE)
    if not found:
        raise BenchError(f"run named no job: {started.said[-300:]}")
    return int(found[1])


@contextmanager
def without_cloud() -> Iterator[World]:
    """Yield a world without nodes, for what trains here; its folder is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gpujob-bench-") as name:
        yield World(Path(name), {**os.environ}, Path(name), None, ())


@contextmanager
def build(one_node: bool) -> Iterator[World]:
    """Yield a world, to be measured on both nodes or on the last one; at its end no process and no file of it is left."""
    reaper.become_subreaper()  # what our commands leave in the background is ours to end
    folder = Path(tempfile.mkdtemp(prefix="gpujob-bench-"))
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    env = {**kept, "HOME": str(folder / "home"), "TMPDIR": str(folder), "AWS_EC2_METADATA_DISABLED": "true"}
    (folder / "home").mkdir()
    try:
        with ExitStack() as ends:
            scripts = content.make_scripts(folder / "scripts", env)
            alone = World(folder, env, scripts, None, ())
            ends.callback(end_local_cloud, alone)
            alone.type(LOCAL, "up", LOCAL, "--dry-run")
            server = ends.enter_context(second_node(alone))
            nodes = (LOCAL, OPENSSH) if server else (LOCAL,)
            ends.callback(be_deaf)  # comes first at the end
            yield World(folder, env, scripts, server, nodes[-1:] if one_node else nodes)
    finally:
        reaper.kill_everything()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def second_node(world: World) -> Iterator[sshd.Server | None]:
    """Yield a real OpenSSH server that gpujob knows as a cluster; None, with one line why, where it cannot be had."""
    lacking = sshd.missing()
    if lacking:
        sys.stderr.write(f"rows against OpenSSH are skipped; install: {' '.join(lacking)}\n")
        yield None
        return
    ours, second = state_of(world.folder, LOCAL), state_of(world.folder, OPENSSH)
    with sshd.serve(world.folder / "sshd", ours / "id_ed25519") as server:
        shutil.copytree(ours, second)
        record = json.loads((ours / "cluster.json").read_text())
        record["name"] = OPENSSH
        record["nodes"][0].update(host="127.0.0.1", port=server.port)
        (second / "cluster.json").write_text(json.dumps(record))
        keys.pin(second / "known_hosts", {record["nodes"][0]["instance_id"]: (server.host_key,)})
        yield server


def state_of(folder: Path, cluster: str) -> Path:
    """Return where the commands typed in a world keep what they know of a cluster."""
    return folder / "home" / ".local" / "state" / "gpujob" / "clusters" / cluster


def be_deaf() -> None:
    """Let nobody interrupt the end: an impatient second Ctrl-C would leave things behind."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)


def end_local_cloud(world: World) -> None:
    """End the local cloud with all that runs in it."""
    with suppress(BenchError):
        world.type(LOCAL, "local", "stop")
