"""A node's disk that fills over weeks: downloaded jobs make room for new ones, and what has run out is named."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent_fixtures import Node, install, interpreters, request
from tests.conftest import wait_for

MB = 1 << 20


@pytest.fixture(params=interpreters())
def mounted(request, tmp_path) -> Iterator[Callable[[str], Node]]:
    """Make a node whose home is a file system with these limits."""
    nodes: list[Node] = []

    def make(limits: str) -> Node:
        home = tmp_path / "home"
        home.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"{limits},mode=700", "tmpfs", str(home)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here: that takes root")
        install(home, request.param)
        nodes.append(Node(home, request.param))
        return nodes[0]

    yield make
    for node in nodes:
        node.power_off()
        subprocess.run(["umount", "--lazy", str(node.home)], check=True)


def work(node: Node, number: int) -> Path:
    return node.home / f".gpujob/work/{number}"


def finish(node: Node, number: int) -> None:
    """Wait until a job and its supervisor, which keeps its files until it ends, are over."""
    node.wait(number)
    wait_for(lambda: not node.processes("supervise"), "end of the supervisor")


def refuse(node: Node, token: str, files: dict[str, bytes]) -> bytes:
    process = node.start("submit")
    _, err = process.communicate(request(("true",), token, files), timeout=120)
    assert process.returncode == 1
    return err


def test_downloaded_jobs_make_room_oldest_first_and_keep_their_records(mounted):
    node = mounted(f"size={22 * MB}")
    files = {"data.bin": os.urandom(4 * MB)}
    kept, first, second = (node.submit("sh", "-c", "echo said", token=t, files=files, no_deps=True) for t in "abc")
    for number in (kept, first, second):
        finish(node, number)
    for number in (first, second):
        node.ask("fetched", str(number))
    new = node.submit("true", token="new", files={"other.bin": os.urandom(3 * MB)}, no_deps=True)
    assert node.wait(new)["state"] == "succeeded"
    assert [work(node, number).exists() for number in (kept, first, second)] == [True, False, True]
    assert (node.record(first)["state"], node.record(first)["fetched"]) == ("succeeded", True)
    assert node.ask("logs", str(first), "0") == b"said\n"
    gone = node.start("outputs", str(first), "--output=~/more")
    assert b"no longer on the machine: they had been downloaded" in gone.communicate(timeout=120)[1]
    assert gone.returncode == 3
    assert node.record(first)["fetched"], "it still counts as downloaded"
    names = {
        number: {path.name for path in (node.home / f".gpujob/jobs/{number}").iterdir()} for number in (first, second)
    }
    assert names[second] - names[first] >= {"manifest.json"}
    assert not {"manifest.json", "hashes.json", "sent.json"} & names[first]
    assert json.loads(node.ask("left"))["complete"]
    assert json.loads(node.ask("outputs", str(second)))["outputs"] == []
    assert json.loads(node.ask("outputs", str(kept)))["unreadable"] == []


def test_what_is_not_downloaded_stays_and_the_disk_is_named(mounted):
    node = mounted(f"size={12 * MB}")
    kept = node.submit("true", token="a", files={"data.bin": os.urandom(4 * MB)}, no_deps=True)
    node.wait(kept)
    err = refuse(node, "b", {"more.bin": os.urandom(6 * MB)})
    assert b"No space left on device: " in err
    assert b" MB are free on the machine's disk" in err
    assert (work(node, kept) / "project/data.bin").stat().st_size == 4 * MB


def test_a_disk_without_inodes_says_so_and_downloaded_jobs_give_theirs_back(mounted):
    node = mounted("nr_inodes=300")
    first = node.submit("true", token="a", files={f"f{n}": b"%d" % n for n in range(180)}, no_deps=True)
    finish(node, first)
    many = {f"g{n}": b"%d" % n for n in range(150)}
    err = refuse(node, "b", many)
    assert b"No space left on device: the machine's disk has no inodes left for more files (300 are in use)" in err
    assert (work(node, first) / "project/f0").exists()
    node.ask("fetched", str(first))
    assert node.wait(node.submit("true", token="c", files=many, no_deps=True))["state"] == "succeeded"
    assert not work(node, first).exists()
