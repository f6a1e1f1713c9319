"""Data sets on the node: what arrives, what continues, what is refused, and what a job sees of them."""

import base64
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest

from infra.node.agent.data import mounts, store
from infra.node.agent.data.store import File, version_of
from infra.node.agent.records import is_supervised
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import in_blocks, request
from tests.conftest import wait_for

node = fixtures.node


def files_of(contents: dict[str, bytes]) -> list[File]:
    return [File(p, hashlib.sha256(c).hexdigest(), len(c), False, 10**18, None) for p, c in contents.items()]


def announce(files: list[File], peer: dict | None = None) -> bytes:
    """The first line of a push."""
    about = {"path": "d", "source": "d", "files": files, "peer": peer}
    return base64.b64encode(zlib.compress(json.dumps(about).encode())) + b"\n"


def push(node, contents: dict[str, bytes], known: bytes = b"") -> str:
    """Store a set, all of it but a content that the node has, and return its version."""
    files = files_of(contents)
    answer = node.ask(
        "data-push", stdin=announce(files) + in_blocks(b"".join(each for each in contents.values() if each != known))
    )
    return json.loads(answer.splitlines()[1])["version"]


def use(version: str, **more: str) -> list[dict[str, str]]:
    """How a job names a set that it sees at data/d."""
    return [{"path": "data/d", "source": "d", "version": version, "address": "", "sha256": "", **more}]


def log_of(node, number: int) -> str:
    return (node.home / f".gpujob/jobs/{number}/log").read_text()


def test_an_interrupted_transfer_continues_inside_the_file_and_the_next_one_need_not_wait(node):
    files = files_of({"a": b"a" * 100, "b": b"b" * 100})
    first = node.start("data-push")
    first.stdin.write(announce(files) + in_blocks(b"a" * 100 + b"b" * 40))
    first.stdin.flush()
    assert json.loads(first.stdout.readline())["missing"] == [[each.sha256, 0] for each in files]
    parts = node.home / f".gpujob/data/parts/{version_of(files)}"
    wait_for(lambda: (parts / files[1].sha256).exists(), "second file")
    wait_for(lambda: (parts / files[1].sha256).stat().st_size >= 35, "part of the second file")
    # Its laptop is gone, but no packet says so: it is still there, and has been silent for a while.
    os.utime(f"{parts}.lock", (0, 0))
    second = node.start("data-push")
    second.stdin.write(announce(files))
    second.stdin.flush()
    [[sha256, offset]] = json.loads(second.stdout.readline())["missing"]
    assert sha256 == files[1].sha256
    assert offset >= 35
    assert first.wait(20) != 0
    out, err = second.communicate(in_blocks(b"b" * (100 - offset)), timeout=120)
    assert (second.returncode, err) == (0, b"")
    assert json.loads(out)["version"] == version_of(files)
    for stream in (first.stdin, first.stdout, first.stderr):
        stream.close()
    assert (node.home / f".gpujob/data/trees/{version_of(files)}/set/b").read_bytes() == b"b" * 100
    assert not parts.exists()


def test_a_content_that_is_not_the_announced_one_is_not_stored(node):
    files = files_of({"a": b"good"})
    process = node.start("data-push")
    _, err = process.communicate(announce(files) + in_blocks(b"evil"), timeout=120)
    assert process.returncode == 1
    assert b"a file changed during the upload" in err
    assert json.loads(node.ask("data-list")) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", ""])
def test_a_path_that_leads_out_of_a_set_is_refused(node, path):
    files = [*files_of({"a": b""}), File(path, "0" * 64, 0, False, 0, None)]
    process = node.start("data-push")
    _, err = process.communicate(announce(files), timeout=120)
    assert process.returncode == 1
    assert b"is outside the data set" in err


def test_zeros_take_no_room(node):
    version = push(node, {"sparse": bytes(1 << 16)})
    stored = (node.home / f".gpujob/data/trees/{version}/set/sparse").stat()
    assert (stored.st_size, stored.st_blocks) == (1 << 16, 0)


def test_a_job_sees_the_set_and_cannot_write_to_it_and_the_set_is_not_its_output(node):
    version = push(node, {"deep/x": b"content", "y": b""})
    script = "cat data/d/deep/x; echo spoilt > data/d/deep/x; echo new > data/d/new; echo mine > data/mine"
    number = node.submit("sh", "-c", script, data=use(version), files={"f": b"f"}, no_deps=True)
    assert node.wait(number)["state"] == "succeeded", log_of(node, number)
    assert node.record(number)["data"] == {"data/d": version}
    assert "content" in log_of(node, number)
    listed = json.loads(node.ask("outputs", str(number)))
    assert [each["path"] for each in listed["outputs"]] == ["data/mine"]
    tree = node.home / f".gpujob/data/trees/{version}/set"
    assert (tree / "deep/x").read_bytes() == b"content"
    assert not (tree / "new").exists()
    node.ask("fetched", str(number))
    node.ask("remove", str(number))
    assert (tree / "deep/x").read_bytes() == b"content"


def test_a_set_that_was_changed_or_removed_is_not_used(node):
    version = push(node, {"x": b"content"})
    file = node.home / f".gpujob/data/trees/{version}/set/x"
    file.chmod(0o600)
    file.write_bytes(b"spoiled")
    assert json.loads(node.ask("data-list"))[0]["changed"] == 1
    number = node.submit("true", data=use(version), no_deps=True)
    assert node.wait(number)["reason"].startswith("the data set data/d was changed on the machine (x); send it again")
    wait_for(lambda: not is_supervised(node.home / f".gpujob/jobs/{number}"), "end of its supervisor")
    node.ask("data-remove", version)
    number = node.submit("true", data=use(version), token="u", no_deps=True)
    assert node.wait(number)["reason"].startswith("the data set data/d is no longer on the machine")


def test_a_set_that_a_job_uses_is_not_removed_and_another_version_keeps_what_both_have(node):
    first, second = push(node, {"x": b"both", "y": b"one"}), push(node, {"x": b"both", "z": b"two"}, b"both")
    number = node.submit("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done", data=use(first), no_deps=True)
    process = node.start("data-remove", first)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == b"job 1 uses d\n"
    wait_for(lambda: node.record(number)["state"] == "running", "start of the job")
    (node.home / f".gpujob/work/{number}/project/go").touch()
    node.wait(number)
    wait_for(lambda: not json.loads(node.ask("data-list", first))[0]["jobs"], "end of the job's processes")
    node.ask("data-remove", first)
    names = {path.name for path in (node.home / ".gpujob/data/files").glob("*/*")}
    assert names == {hashlib.sha256(content).hexdigest() for content in (b"both", b"two")}
    assert (node.home / f".gpujob/data/trees/{second}/set/x").read_bytes() == b"both"


@pytest.mark.parametrize("path", ["../d", "/d", "link/d"])
def test_a_set_is_placed_in_the_project_only(node, path):
    process = node.start("submit")
    sent = request(("true",), "t", {"link": "empty"}, data=use("0" * 64, path=path))
    _, err = process.communicate(sent, timeout=120)
    assert process.returncode == 1
    assert b"the data set" in err


def test_without_root_a_set_is_a_link_to_what_nobody_may_write(tmp_path, monkeypatch):
    tree, work = tmp_path / "set", tmp_path / "work"
    tree.mkdir()
    monkeypatch.setattr(mounts, "check", lambda *_: tree)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made, manifest = mounts.place(work, {"data/d": "0" * 64})
    assert made == ()
    assert manifest == {"data/d": {"link": str(tree)}}
    assert (work / "data/d").readlink() == Path(tree)


def test_sets_are_stored_on_another_disk_only_if_it_is_one_and_has_more_room(tmp_path, monkeypatch):
    memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        monkeypatch.delenv("GPUJOB_LOCAL_HOST", raising=False)

        def choose(home: Path, fast: Path) -> Path:
            monkeypatch.setattr(store, "HOME", home)
            monkeypatch.setattr(store, "FAST", (str(fast), "/not/there"))
            return store.choose_root()

        scratch, home = tmp_path / "scratch", tmp_path / "home"
        scratch.mkdir()
        home.mkdir()
        assert choose(home, scratch) == home / "data", "a folder of that name on the same disk"
        assert choose(home, memory) == home / "data", "memory"
        assert choose(memory, scratch) == scratch / store.FOLDER, "a disk with more room"
        (memory / "data/parts").mkdir(parents=True)
        assert choose(memory, scratch) == memory / "data", "where sets are already"
    finally:
        shutil.rmtree(memory)
