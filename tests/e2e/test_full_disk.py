"""The node's disk runs full: while code comes, while a job runs, while its outputs go home. It is told, and harms nothing."""

import json
import os
import subprocess

import pytest

from tests.cloudwatch import node_home
from tests.conftest import Laptop

ROOM_MB = 12


@pytest.fixture
def cramped(laptop):
    """A laptop with a cluster whose machine has a small disk."""
    assert laptop.type("up", "--dry-run").code == 0
    home = node_home(laptop)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m,mode=700", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that takes root")
    yield laptop
    laptop.give_back()
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def told(laptop: Laptop, *words: str) -> str:
    """What a command says that fails as it should."""
    done = laptop.type(*words)
    assert done.code == 1, done.said
    assert "Traceback" not in done.said
    return done.err


def test_a_full_disk_is_told_wherever_it_happens_and_earlier_jobs_are_unharmed(cramped):
    cramped.write("first.py", "print('first'); open('out.txt', 'w').write('kept')")
    assert cramped.type("run", "first.py").code == 0

    data = cramped.write("data.bin", os.urandom(2 * ROOM_MB << 20))
    full = told(cramped, "run", "first.py")
    assert "No space left on device" in full
    assert " MB are free on the machine's disk" in full
    assert "free disk space: gpujob jobs rm --done" in full
    data.unlink()
    assert len(json.loads(cramped.type("jobs", "--json").out)) == 1

    cramped.write(
        "fill.py",
        "print('filling', flush=True)\n"
        "with open('fill.bin', 'wb', buffering=0) as file:\n"
        "    while True:\n"
        "        if file.write(bytes(1 << 16)) < 1 << 16: raise SystemExit(9)\n",
    )
    fill = cramped.type("run", "fill.py")
    assert fill.code in (1, 9), fill.said  # its own: Python's for an error, or ours for a short write
    assert fill.out.startswith("filling\n")
    assert f"job 2 failed (exit {fill.code})" in fill.err
    assert f"No space left on device: 0 MB of {ROOM_MB} MB are free on the machine's disk" in fill.err
    assert "free disk space: gpujob jobs rm --done" in fill.err
    jobs = json.loads(cramped.type("jobs", "--json").out)
    assert [(job["state"], job["exit_code"], job["fetched"]) for job in jobs] == [
        ("succeeded", 0, True),
        ("failed", fill.code, True),
    ]
    assert (cramped.project / "runs/project-2/files/fill.bin").stat().st_size > ROOM_MB << 19

    elsewhere = cramped.home / "again"
    for number in ("1", "2"):  # the disk is still full
        fetch = cramped.type("fetch", number, "--to", str(elsewhere))
        assert fetch.code == 0, fetch.said
    assert (elsewhere / "project-1/files/out.txt").read_text() == "kept"
    assert cramped.type("logs", "1").out == "first\n"
    for words in (["jobs"], ["top"]):
        listed = cramped.type(*words)
        assert "left on the disk of 'project'. Free space: gpujob jobs rm --done" in listed.said

    cramped.write("one_more.py", "# " + os.urandom(1_000_000).hex())
    assert cramped.type("run", "one_more.py").code == 0, "downloaded jobs make room"
    assert [job["number"] for job in json.loads(cramped.type("jobs", "--json").out)] == [1, 2, 3]
    freed = cramped.type("fetch", "2", "--to", str(cramped.home / "late"))
    assert (freed.code, "no longer on the machine: they had been downloaded" in freed.err) == (1, True), freed.said
    assert cramped.type("jobs", "rm", "--done").code == 0
    assert json.loads(cramped.type("jobs", "--json").out) == []
    assert cramped.type("down").code == 0
