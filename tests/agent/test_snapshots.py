"""Many jobs of one project: its list travels as a difference, and the next snapshot is prepared while nobody waits."""

import base64
import json
import shutil
import zlib
from pathlib import Path

import pytest

from infra.node.agent.snapshot.prepared import look_over
from infra.node.agent.trees import stamp_of
from infra.project import filelist
from infra.project.filelist import list_files
from infra.project.files import File
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import in_blocks, request
from tests.conftest import wait_for

node = fixtures.node
COUNT = 120


def many() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {f"deep/{number % 7}/file-{number}": b"%d" % number for number in range(COUNT)}
    return {**files, "only/here": b"only", "link": "deep/0/file-0"}


def header(message: bytes) -> dict:
    return json.loads(zlib.decompress(base64.b64decode(message.split(b"\n")[0])))


def difference(token: str, files: dict, before: dict, sent: bytes = b"", **options: object) -> bytes:
    """A request that refers to the list of an earlier one."""
    asked = header(request(("true",), token, files, **options))
    earlier = header(request(("true",), token, before))
    now, then = ({entry[0]: entry for entry in each["files"]} for each in (asked, earlier))
    asked.update(base=earlier["list"], removed=[path for path in then if path not in now])
    asked["files"] = [entry for path, entry in now.items() if then.get(path) != entry]
    return base64.b64encode(zlib.compress(json.dumps(asked).encode())) + b"\n" + in_blocks(sent)


def replies(answer: bytes) -> list[dict]:
    return [json.loads(line) for line in answer.splitlines()]


def prepared(home: Path) -> Path:
    return home / ".gpujob/work/next"


def tree(top: Path) -> dict[str, bytes | str]:
    paths = [path for path in top.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(p.relative_to(top)): str(p.readlink()) if p.is_symlink() else p.read_bytes() for p in paths}


def work(home: Path, number: int) -> Path:
    return home / f".gpujob/work/{number}/project"


@pytest.fixture
def started(node):
    """A node that has run a job of the project, and has prepared the next snapshot."""
    node.wait(node.submit("true", token="one", files=many()))
    wait_for(prepared(node.home).exists, "the next snapshot")
    return node


def identities(top: Path) -> dict[str, tuple[int, int]]:
    """The inode of each file and its last change: a new file may get the inode of one that was just removed."""
    return {
        str(path.relative_to(top)): (path.lstat().st_ino, path.lstat().st_ctime_ns)
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_an_unchanged_project_is_renamed_into_place_and_no_file_is_written(started):
    before = identities(prepared(started.home) / "project")
    answer = replies(started.ask("submit", stdin=difference("two", many(), many())))
    number = answer[-1]["job"]
    assert answer[0] == {"missing": []}
    assert identities(work(started.home, number)) == before
    assert started.wait(number)["state"] == "succeeded"
    assert json.loads(started.ask("outputs", str(number)))["outputs"] == []
    wait_for(prepared(started.home).exists, "the snapshot after that")


def test_of_a_changed_project_only_the_difference_is_written(started):
    before = identities(prepared(started.home) / "project")
    files = {**many(), "deep/3/file-3": b"new", "new/folder/x": b"x", "link": "deep/1/file-1"}
    del files["only/here"]
    answer = replies(started.ask("submit", stdin=difference("two", files, many(), b"newx")))
    number = answer[-1]["job"]
    assert len(answer[0]["missing"]) == 2
    assert tree(work(started.home, number)) == files
    assert not (work(started.home, number) / "only").exists()
    now = identities(work(started.home, number))
    assert {path for path in now if now[path] != before.get(path)} == {"deep/3/file-3", "new/folder/x"}
    started.wait(number)
    assert json.loads(started.ask("outputs", str(number)))["outputs"] == []


DEEDS = (
    lambda top: (top / "deep/1/file-1").write_bytes(b"overwritten"),
    lambda top: (top / "planted.py").write_bytes(b"planted"),
    lambda top: (top / "deep/1/file-1").unlink(),
    lambda top: ((top / "link").unlink(), (top / "link").symlink_to("/etc/passwd")),
    lambda top: (top / "deep/1/file-1").chmod(0o777),
    lambda top: ((top / "deep/1/file-1").rename(top / "kept"), shutil.copy2(top / "kept", top / "deep/1/file-1")),
)


@pytest.mark.parametrize("deed", DEEDS)
def test_whatever_is_done_to_a_prepared_snapshot_is_noticed(tmp_path, deed):
    manifest: dict[str, dict] = {"link": {"link": "deep/1/file-1"}}
    for name in ("deep/1/file-1", "deep/1/file-2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"as prepared")
        manifest[name] = {"stamp": stamp_of((tmp_path / name).stat())}
    (tmp_path / "link").symlink_to("deep/1/file-1")
    assert look_over(tmp_path, manifest) == {"deep", "deep/1"}
    deed(tmp_path)
    assert look_over(tmp_path, manifest) is None


def test_a_prepared_snapshot_that_a_job_wrote_to_is_not_used(started):
    with (prepared(started.home) / "project/deep/1/file-1").open("ab") as file:
        file.write(b"poison")
    number = replies(started.ask("submit", stdin=difference("two", many(), many())))[-1]["job"]
    assert tree(work(started.home, number)) == many()
    started.wait(number)
    assert json.loads(started.ask("outputs", str(number)))["outputs"] == []


@pytest.mark.parametrize("name", ["list.json", "manifest.json"])
def test_a_prepared_snapshot_whose_records_are_damaged_is_not_used(started, name):
    (prepared(started.home) / name).write_text("{")
    number = replies(started.ask("submit", stdin=difference("two", many(), many())))[-1]["job"]
    assert tree(work(started.home, number)) == many()


def test_another_project_leaves_the_prepared_one_alone_until_its_job_has_started(started):
    number = started.submit("cat", "a", token="two", files={"a": b"small"})
    started.wait(number)
    assert tree(work(started.home, number)) == {"a": b"small"}
    number = replies(started.ask("submit", stdin=difference("three", many(), many())))[-1]["job"]
    assert tree(work(started.home, number)) == many()


def test_a_list_that_the_node_does_not_have_is_asked_for_in_full(node):
    whole = request(("true",), "t", {"a": b"A", "b": b"B"})
    refers = difference("t", {"a": b"A", "b": b"B"}, {"a": b"A"})
    answer = replies(node.ask("submit", stdin=refers + whole))
    assert answer[0] == {"missing": [], "unknown": True}
    assert len(answer[1]["missing"]) == 2
    assert tree(work(node.home, answer[2]["job"])) == {"a": b"A", "b": b"B"}


def test_a_difference_that_does_not_give_the_announced_list_starts_no_job(node):
    node.wait(node.submit("true", token="one", files={"a": b"A"}))
    asked = header(difference("two", {"a": b"A", "b": b"B"}, {"a": b"A"}))
    for damage in ({"list": "0" * 64}, {"files": []}, {"removed": ["a"]}):
        process = node.start("submit")
        line = base64.b64encode(zlib.compress(json.dumps({**asked, **damage}).encode())) + b"\n"
        _, err = process.communicate(line + in_blocks(b"B"), timeout=120)
        assert (process.returncode, b"does not match its hash" in err) == (1, True)
    assert len(json.loads(node.ask("jobs"))) == 1


def test_a_damaged_list_on_the_node_is_asked_for_in_full(node):
    node.wait(node.submit("true", token="one", files={"a": b"A"}))
    [kept] = (node.home / ".gpujob/store/lists").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    whole = request(("true",), "two", {"a": b"A"}, sent=[])
    assert replies(node.ask("submit", stdin=difference("two", {"a": b"A"}, {"a": b"A"}) + whole))[0]["unknown"]


def test_the_client_sends_what_changed_since_its_last_list(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = [File(f"f{number:05}", "a" * 64, number, 0o644, number) for number in range(1000)]
    first = list_files(tmp_path, files)
    assert first.changes["base"] == ""
    assert len(first.changes["files"]) == 1000
    first.remember()
    again = list_files(tmp_path, files).changes
    assert (again["base"], again["list"], again["files"], again["removed"]) == (first.whole["list"],) * 2 + ([], [])
    changed = list_files(tmp_path, [*files[2:], File("f00001", "b" * 64, 1, 0o644, 1)]).changes
    assert ([entry[0] for entry in changed["files"]], changed["removed"]) == (["f00001"], ["f00000"])
    [place] = (tmp_path / "gpujob/lists").iterdir()
    monkeypatch.setattr(filelist, "MOST_BYTES", int(1.5 * place.stat().st_size))
    list_files(tmp_path / "other", files).remember()
    assert place not in (tmp_path / "gpujob/lists").iterdir(), "the least recently written goes"
    first.remember()
    assert list((tmp_path / "gpujob/lists").iterdir()) == [place]
    place.write_text("[[")
    assert list_files(tmp_path, files).changes["base"] == ""
    assert list(place.parent.iterdir()) == [place]
