"""A connection that breaks again and again: every byte arrives, once."""

import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.ec2.tags import ENDPOINT_TAG
from tests.cloudwatch import watch
from tests.conftest import Laptop
from tests.e2e.test_jobs import job_number


class Cutter:
    """A way to the node that cuts each connection after so many bytes of answer."""

    def __init__(self, port: int, most_bytes: int) -> None:
        self.node = ("127.0.0.1", port)
        self.most_bytes = most_bytes
        self.cuts = 0
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.door.accept()
            except OSError:
                return
            far = socket.create_connection(self.node)
            threading.Thread(target=self.carry, args=(near, far, 1 << 62), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, self.most_bytes), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, left: int) -> None:
        with suppress(OSError):
            while left > 0 and (data := source.recv(min(left, 1 << 16))):
                target.sendall(data)
                left -= len(data)
            self.cuts += left <= 0
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def shaky(project: Laptop, request, tmp_path_factory) -> Iterator[tuple[Laptop, Cutter]]:
    """The shared cluster as a laptop sees it whose connections break."""
    folder = Path(".local/state/gpujob/clusters/shared")
    laptop = Laptop(tmp_path_factory.mktemp("shaky") / "home", project.project, project.settings)
    shutil.copytree(project.home / folder, laptop.home / folder)
    (laptop.home / folder.parents[1] / "local").mkdir()
    shutil.copy(project.home / folder.parents[1] / "local/cloud.json", laptop.home / folder.parents[1] / "local")
    record = json.loads((laptop.home / folder / "cluster.json").read_text())
    cutter = Cutter(record["nodes"][0]["port"], request.param)
    record["nodes"][0]["port"] = cutter.port
    (laptop.home / folder / "cluster.json").write_text(json.dumps(record))
    yield laptop, cutter
    cutter.door.close()


@pytest.mark.parametrize("shaky", [64_000], indirect=True)
def test_a_log_arrives_whole_over_a_connection_that_is_cut_every_64_kb(project, shaky):
    laptop, cutter = shaky
    project.write("talk.py", "for n in range(20_000): print(n, 'x' * 40)")
    number = job_number(project.type("run", "talk.py").err)
    logs = laptop.type("logs", "-f", str(number))
    assert logs.out == "".join(f"{n} {'x' * 40}\n" for n in range(20_000))
    assert logs.code == 0
    assert "; the job may still be running; reconnecting" in logs.err
    assert cutter.cuts > 10


@pytest.mark.parametrize("shaky", [1_000_000], indirect=True)
def test_outputs_arrive_whole_over_a_connection_that_is_cut_every_megabyte(project, shaky):
    laptop, cutter = shaky
    project.write(
        "big.py", "import os; open('a.bin', 'wb').write(os.urandom(8_000_000)); open('b.bin', 'wb').write(b'b' * 10)"
    )
    number = job_number(project.type("run", "--detach", "big.py").err)
    project.type("wait", str(number))
    fetch = laptop.type("fetch", str(number), "--to", str(laptop.home / "here"))
    assert fetch.code == 0, fetch.said
    home = laptop.home / f"here/shared-{number}"
    for output in json.loads((home / "receipt.json").read_text())["outputs"]:
        assert hashlib.sha256((home / "files" / output["path"]).read_bytes()).hexdigest() == output["sha256"]
    assert sorted(p.name for p in (home / "files").iterdir()) == ["a.bin", "b.bin"], fetch.said
    # Each connection goes on where the last one broke, but for what was on its way: from the start each time it would never end.
    assert 8 <= cutter.cuts <= 24


@pytest.mark.parametrize("shaky", [300_000], indirect=True)
def test_run_keeps_the_job_s_code_and_brings_all_home_though_its_connection_breaks(shaky):
    laptop, cutter = shaky
    laptop.write(
        "train.py",
        "for n in range(10_000): print(n, 'x' * 40)\nopen('big.bin', 'wb').write(b'b' * 600_000)\nraise SystemExit(7)",
    )
    run = laptop.type("run", "train.py")
    assert run.code == 7, run.said
    assert run.out == "".join(f"{n} {'x' * 40}\n" for n in range(10_000))
    [home] = (laptop.project / "runs").glob("shared-*")
    assert (home / "files/big.bin").read_bytes() == b"b" * 600_000
    assert cutter.cuts >= 3


@pytest.mark.parametrize("shaky", [1_000], indirect=True)
def test_a_connection_that_never_holds_is_told_and_not_tried_for_ever(shaky):
    laptop, cutter = shaky
    [node] = json.loads((laptop.home / ".local/state/gpujob/clusters/shared/cluster.json").read_text())["nodes"]
    ec2, wanted = watch(laptop).ec2, {"Resources": [node["instance_id"]]}
    # Else the cloud would tell another address, at which the node answers.
    ec2.create_tags(**wanted, Tags=[{"Key": ENDPOINT_TAG, "Value": f"127.0.0.1:{cutter.port}"}])
    try:
        jobs = laptop.type("jobs")
    finally:
        ec2.create_tags(**wanted, Tags=[{"Key": ENDPOINT_TAG, "Value": f"127.0.0.1:{cutter.node[1]}"}])
    assert jobs.code == 1
    assert "cannot connect to" in jobs.err
    assert "Traceback" not in jobs.said


def test_a_pattern_brings_only_what_matches_and_the_rest_is_not_called_home(project):
    project.write("train.py", "open('a.pt', 'w').write('a'); open('b.log', 'w').write('b')")
    number = job_number(project.type("run", "--detach", "train.py").err)
    project.type("wait", str(number))
    fetch = project.type("fetch", str(number), "--pattern", "*.pt")
    assert fetch.code == 0, fetch.said
    home = project.project / f"runs/shared-{number}"
    assert (home / "files/a.pt").exists()
    assert not (home / "files/b.log").exists()
    nothing = project.type("fetch", str(number), "--pattern", "*.txt")
    assert nothing.code == 1
    assert f"no output of job {number} matches '*.txt'; it wrote 'a.pt', 'b.log'" in nothing.err
    [job] = [job for job in json.loads(project.type("jobs", "--json").out) if job["number"] == number]
    assert job["fetched"] is False
    assert project.type("fetch", str(number)).code == 0
    assert (home / "files/b.log").exists()
