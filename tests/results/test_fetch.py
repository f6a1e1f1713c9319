"""Downloaded outputs come to their own folder and nowhere else, whatever the node says; and what is here stays as it is."""

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.base import folders
from infra.base.folders import Descent
from infra.errors import NodeError, ProjectError
from infra.fetch.download import save_link
from infra.fetch.outputs import EVERYTHING, Wanted, hash_below, shelve
from infra.model import Cluster, Gpu, Job, Node, Output
from infra.project import hashes as project_hashes
from infra.project.hashes import Hashes
from infra.results import shelf as shelves
from infra.results.filenames import make_inert, make_portable, read_path
from infra.results.folder import open_results, start_results, write_receipt
from infra.results.parts import check_room, count_left, name_part, write_part
from infra.results.receipts import is_results, make_receipt, read_receipt
from infra.results.shelf import Shelf
from infra.ssh.carry import read_exactly
from infra.ssh.connection import DroppedError

CLUSTER = Cluster("c", "local", "r", (Node("i-1", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
RUNNING = Job(1, "", ("x",), "running", "", (), None, 1.0, 2.0, None, None, 3.0, 0, False, "", "", "")
OVER = replace(RUNNING, state="succeeded", exit_code=0, ended_at=4.0)


def output(path: str, content: bytes = b"", link: str | None = None, mode: int = 0o644) -> Output:
    return Output(path, len(content), "" if link else hashlib.sha256(content).hexdigest(), mode, link)


def arriving(content: bytes, announced_bytes: int) -> Iterator[bytes]:
    return read_exactly(io.BytesIO(content), announced_bytes)


@contextmanager
def opened(runs: Path, job: Job = RUNNING, wanted: Wanted = EVERYTHING) -> Iterator[Shelf]:
    """The files of a job, whose receipt is written at the end as a fetch writes it."""
    with open_results(runs, CLUSTER, job) as results:
        shelf = Shelf(results, overwrite=wanted.overwrite)
        yield shelf
        found = list(shelf.outputs.values())
        write_receipt(results, shelve(make_receipt(CLUSTER, job, ()), shelf, found, wanted))


def put(shelf: Shelf, path: str, content: bytes, *, interim: bool = False) -> None:
    """Download a file as a fetch does."""
    wanted = output(path, content)
    if not shelf.admit(wanted):
        return
    if shelf.holds(wanted):
        shelf.confirm(wanted, interim=interim)
    else:
        assert write_part(arriving(content, len(content)), wanted, shelf.results.parts, lambda _: None)
        shelf.save(wanted, name_part(wanted), interim=interim)


def link(shelf: Shelf, path: str, target: str, *, interim: bool = False) -> None:
    """Make a link as a fetch does."""
    wanted = output(path, link=target)
    if shelf.admit(wanted) and not shelf.holds(wanted):
        save_link(wanted, target, shelf, interim=interim)


def files_in(runs: Path) -> dict[str, str]:
    """What lies in the job's folder of files."""
    top = runs / "c-1/files"
    paths = [path for path in top.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {str(p.relative_to(top)): f"-> {p.readlink()}" if p.is_symlink() else p.read_text() for p in paths}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..", "", ".", "a\0b", "/", "a/..", "./../x"])
def test_a_path_that_leads_outside_is_refused(path):
    with pytest.raises(NodeError, match="outside the results folder"):
        read_path(path)


PARTS = st.sampled_from(["a", "b", "..", ".", "", "/", "c c", "\n", "\x1b[31m", "é", "\udcff"])


@settings(max_examples=60)
@given(
    links=st.lists(st.tuples(st.sampled_from(["a", "b", "a/c"]), st.lists(PARTS, max_size=5).map("/".join)), max_size=6)
)
def test_no_series_of_links_lets_a_file_out(tmp_path_factory, links):
    outer = tmp_path_factory.mktemp("outer")
    with opened(outer / "runs") as shelf:
        for path, target in links:
            link(shelf, path, target, interim=True)
            put(shelf, f"{path}/file", b"x", interim=True)
    assert [p.name for p in outer.iterdir()] == ["runs"]
    for found in (outer / "runs").rglob("*"):
        assert Path(os.path.realpath(found)).is_relative_to(outer / "runs")


def test_a_file_that_is_not_what_was_announced_never_takes_its_name(tmp_path):
    with opened(tmp_path) as shelf:
        wanted = output("a", b"announced")
        assert write_part(arriving(b"other", 5), wanted, shelf.results.parts, lambda _: None) == ""
        assert list((tmp_path / "c-1/.parts").iterdir()) == []
    assert files_in(tmp_path) == {}


def test_what_came_before_a_break_is_kept_and_gone_on_from(tmp_path):
    whole = output("a", b"0123456789")
    with opened(tmp_path) as shelf, pytest.raises(DroppedError):
        write_part(arriving(b"0123", 10), whole, shelf.results.parts, lambda _: None)
    with opened(tmp_path) as shelf:
        other = output("a", b"another content")
        assert count_left([whole, other], shelf.results.parts) == {whole: 6, other: 15}
        assert write_part(arriving(b"456789", 6), whole, shelf.results.parts, lambda _: None) == name_part(whole)
        shelf.save(whole, name_part(whole), interim=False)
    assert files_in(tmp_path) == {"a": "0123456789"}
    assert not (tmp_path / "c-1/.parts").exists()


def test_a_file_of_before_makes_room_for_a_folder_while_the_job_runs_and_not_after(tmp_path):
    with opened(tmp_path) as shelf:
        put(shelf, "ck", b"1", interim=True)
    with opened(tmp_path) as shelf:
        put(shelf, "ck/a", b"2")
    assert files_in(tmp_path) == {"ck/a": "2"}
    with opened(tmp_path) as shelf:
        put(shelf, "ck/a/b", b"3")
        put(shelf, "ck", b"4")
    assert files_in(tmp_path) == {"ck/a": "2", "ck/a.from-node/b": "3", "ck.from-node": "4"}


def test_a_link_is_made_again_when_the_job_changed_it(tmp_path):
    for target in ("one", "two"):
        with opened(tmp_path) as shelf:
            link(shelf, "latest", target, interim=True)
            link(shelf, "out", "/etc/passwd")
            link(shelf, "up", "../job.log")
            link(shelf, "inner/up", "../latest")
            link(shelf, "long", "x" * 5000)
        assert files_in(tmp_path) == {"latest": f"-> {target}", "inner/up": "-> ../latest"}
    receipt = read_receipt(tmp_path / "c-1")
    assert {each["path"] for each in receipt["withheld"]} == {"out", "up", "long"}


def test_what_was_changed_here_is_kept_and_the_node_s_version_follows_beside_it(tmp_path):
    with opened(tmp_path) as shelf:
        put(shelf, "a", b"1", interim=True)
    (tmp_path / "c-1/files/a").write_text("mine")
    for content in (b"2", b"3"):
        with opened(tmp_path) as shelf:
            put(shelf, "a", content, interim=True)
    assert files_in(tmp_path) == {"a": "mine", "a.from-node": "3"}
    [renamed] = read_receipt(tmp_path / "c-1")["renamed"]
    assert (renamed["saved_as"], renamed["why"]) == ("a.from-node", "the local copy was modified")


def test_what_was_verified_changes_by_request_only(tmp_path):
    with opened(tmp_path, OVER) as shelf:
        put(shelf, "model", b"real")
        put(shelf, "gone", b"real")
    (tmp_path / "c-1/files/gone").unlink()
    for _ in range(2):
        with opened(tmp_path, OVER) as shelf:
            put(shelf, "model", b"fake")
            put(shelf, "gone", b"fake")
    assert files_in(tmp_path) == {"model": "real", "model.from-node": "fake", "gone.from-node": "fake"}
    receipt = read_receipt(tmp_path / "c-1")
    assert {o["path"]: o["sha256"] for o in receipt["outputs"]} == dict.fromkeys(
        ("model", "gone"), hashlib.sha256(b"real").hexdigest()
    )
    assert {each["why"] for each in receipt["renamed"]} == {"the verified local copy was kept"}
    with opened(tmp_path, OVER, Wanted(overwrite=True)) as shelf:
        put(shelf, "model", b"fake")
    assert files_in(tmp_path)["model"] == "fake"
    [model] = [o for o in read_receipt(tmp_path / "c-1")["outputs"] if o["path"] == "model"]
    assert model["sha256"] == hashlib.sha256(b"fake").hexdigest()


def test_a_node_that_says_of_a_job_that_was_over_that_it_runs_changes_nothing_that_was_verified(tmp_path):
    with opened(tmp_path, OVER) as shelf:
        put(shelf, "model", b"real")
    for content in (b"real", b"fake"):
        with opened(tmp_path, RUNNING) as shelf:
            put(shelf, "model", content, interim=True)
    assert files_in(tmp_path) == {"model": "real", "model.from-node": "fake"}


def test_a_folder_of_another_job_or_of_the_user_is_not_written_to(tmp_path):
    with opened(tmp_path) as shelf:
        put(shelf, "a", b"1")
    stranger = replace(CLUSTER, nodes=(replace(CLUSTER.node, instance_id="i-2"),))
    with pytest.raises(ProjectError, match="another job"), open_results(tmp_path, stranger, RUNNING):
        pass
    with pytest.raises(NodeError, match="already exists"):
        start_results(tmp_path, CLUSTER, RUNNING, {})
    (tmp_path / "c-2").mkdir()
    (tmp_path / "c-2/mine").write_text("mine")
    with (
        pytest.raises(ProjectError, match="no gpujob receipt"),
        open_results(tmp_path, CLUSTER, replace(OVER, number=2)),
    ):
        pass
    assert [path.name for path in (tmp_path / "c-2").iterdir()] == ["mine"]
    assert (is_results(tmp_path / "c-1"), is_results(tmp_path / "c-2"), is_results(tmp_path)) == (True, False, False)


def test_no_link_in_runs_is_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    runs = tmp_path / "project/runs"
    runs.parent.mkdir()
    runs.symlink_to(outside)
    with pytest.raises(ProjectError, match="is a symbolic link"), open_results(runs, CLUSTER, RUNNING):
        pass
    runs.unlink()
    runs.mkdir()
    (runs / "c-1").symlink_to(outside)
    with pytest.raises(ProjectError, match="is a symbolic link"), open_results(runs, CLUSTER, RUNNING):
        pass
    (runs / "c-1").unlink()
    with opened(runs):
        pass
    for name in ("files", ".parts"):
        moved = runs / "c-1" / name
        if moved.exists():
            moved.rmdir()
        moved.symlink_to(outside)
        with pytest.raises(ProjectError, match="cannot write"), open_results(runs, CLUSTER, RUNNING):
            pass
        moved.unlink()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("receipt.json", ".receipt.json.part"):
        (runs / "c-1" / name).unlink(missing_ok=True)
        (runs / "c-1" / name).symlink_to(victim)
    with pytest.raises(ProjectError, match="no gpujob receipt"), open_results(runs, CLUSTER, RUNNING):
        pass
    assert victim.read_text() == "mine"
    assert list(outside.iterdir()) == []


def test_results_of_an_older_version_stay_as_they_are(tmp_path):
    folder = tmp_path / "c-1"
    (folder / "files").mkdir(parents=True)
    (folder / "model.pt").write_text("old")
    (folder / "files/a").write_text("an output of before")
    old = make_receipt(CLUSTER, OVER, (output("model.pt", b"old"), output("files/a", b"an output of before"))).to_dict()
    for name in ("folder", "renamed", "withheld", "interim"):
        del old[name]
    (folder / "receipt.json").write_text(json.dumps(old))
    before = (folder / "receipt.json").read_bytes()
    with opened(tmp_path, OVER) as shelf:
        put(shelf, "model.pt", b"old")
        put(shelf, "a", b"new")
    assert (folder / "model.pt").read_text() == "old"
    assert files_in(tmp_path) == {"a": "an output of before", "a.from-node": "new", "model.pt": "old"}
    assert (folder / "receipt.json.earlier").read_bytes() == before
    assert read_receipt(folder)["folder"] == "files"


def test_a_downloaded_file_has_no_more_rights_than_any_other_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with opened(tmp_path) as shelf:
            for name, mode in (("open", 0o777), ("loose", 0o666), ("set-uid", 0o6755), ("private", 0o600), ("none", 0)):
                wanted = output(name, b"x", mode=mode)
                write_part(arriving(b"x", 1), wanted, shelf.results.parts, lambda _: None)
                shelf.save(wanted, name_part(wanted), interim=False)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "c-1/files").iterdir()}
    assert modes == {"open": 0o750, "loose": 0o640, "set-uid": 0o750, "private": 0o600, "none": 0o600}


def test_holes_stay_holes(tmp_path):
    zeros, size = bytes(1 << 18), 64 << 20
    digest = hashlib.sha256()
    for _ in range(size // len(zeros)):
        digest.update(zeros)
    digest.update(b"end" + zeros)
    sparse = Output("sparse", size + 3 + len(zeros), digest.hexdigest(), 0o644)
    chunks = [*[zeros] * (size // len(zeros)), b"end", zeros]
    with opened(tmp_path) as shelf:
        assert write_part(iter(chunks), sparse, shelf.results.parts, lambda _: None)
        shelf.save(sparse, name_part(sparse), interim=False)
    info = (tmp_path / "c-1/files/sparse").stat()
    assert info.st_size == sparse.size_bytes
    assert info.st_blocks * 512 < 1 << 20


def test_holes_stay_holes_between_data_that_arrives_in_pieces_of_any_size(tmp_path):
    content = b"".join(bytes([1 + part]) * 100 + bytes(1 << 20) for part in range(8)) + b"end"
    sparse = output("sparse", content)
    with opened(tmp_path) as shelf:
        chunks = (content[at : at + 33_333] for at in range(0, len(content), 33_333))
        assert write_part(chunks, sparse, shelf.results.parts, lambda _: None)
        shelf.save(sparse, name_part(sparse), interim=False)
    saved = tmp_path / "c-1/files/sparse"
    assert saved.read_bytes() == content
    assert saved.stat().st_blocks * 512 < 8 * (16 << 10)


def test_a_file_that_is_here_is_read_once_and_again_only_when_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(project_hashes, "SETTLED_NS", -(10**12))
    read, names = folders.read_hash, [f"out/{number}" for number in range(20)]
    reads: list[str] = []
    monkeypatch.setattr(folders, "read_hash", lambda name, within: reads.append(name) or read(name, within))

    def look() -> list[str]:
        """Look at each file as a fetch does; return which were read for that."""
        reads.clear()
        with open_results(tmp_path, CLUSTER, OVER) as results:
            hashes = Hashes(results.path)
            shelf = Shelf(results, hash_of=partial(hash_below, hashes, "files"))
            assert all(shelf.holds(output(name, b"x")) == (name != "out/9" or changed == b"x") for name in names)
            hashes.save()
        return sorted(reads)

    with opened(tmp_path, OVER) as shelf:
        for name in names:
            put(shelf, name, b"x")
    changed = b"x"
    assert len(look()) == 20
    assert look() == []
    changed = b"y"
    (tmp_path / "c-1/files/out/9").write_bytes(changed)
    assert look() == ["9"]
    assert look() == []


def test_a_folder_is_opened_once_for_all_files_that_arrive_in_it(tmp_path, monkeypatch):
    enter, entered = Descent.enter, []
    monkeypatch.setattr(Descent, "enter", lambda self, name: entered.append(name) or enter(self, name))
    with opened(tmp_path) as shelf:
        for number in range(50):
            wanted = output(f"a/b/{number}", b"x")
            assert write_part(arriving(b"x", 1), wanted, shelf.results.parts, lambda _: None)
            shelf.save(wanted, name_part(wanted), interim=False)
        assert entered == ["a", "b"]
        assert all(shelf.holds(output(f"a/b/{number}", b"x")) for number in range(50))
        assert entered == ["a", "b", "a", "b"]
    assert len(files_in(tmp_path)) == 50


def test_outputs_that_the_disk_has_no_room_for_are_refused_before_anything_comes(tmp_path):
    with opened(tmp_path) as shelf, pytest.raises(ProjectError, match="the largest is 'big'") as refused:
        check_room({output("big"): 1 << 60, output("small"): 1}, shelf.results.parts, tmp_path)
    assert "--pattern" in refused.value.hint


@pytest.mark.parametrize("name", ["é" * 100, "\udcff\udcfe", "x" * 255])
def test_a_name_that_the_file_system_does_not_take_is_replaced(tmp_path, monkeypatch, name):
    """As APFS does with bytes that are no UTF-8, and eCryptfs with long names."""
    choose = Shelf.choose

    def refuse(self: Shelf, folder: int, way: Path, part: str, content: str) -> str:
        if not part.isascii() or len(part) > 143:
            raise OSError(errno.EILSEQ, "Illegal byte sequence")
        return choose(self, folder, way, part, content)

    monkeypatch.setattr(Shelf, "choose", refuse)
    with opened(tmp_path) as shelf:
        put(shelf, f"sub/{name}", b"x")
    with opened(tmp_path) as shelf:
        assert shelf.holds(output(f"sub/{name}", b"x"))
    assert files_in(tmp_path) == {str(make_portable(read_path(f"sub/{name}"))): "x"}


def test_long_names_take_no_room_for_their_parts(tmp_path):
    with opened(tmp_path) as shelf:
        put(shelf, f"{'d' * 255}/{'f' * 255}", b"1")
    with opened(tmp_path) as shelf:
        put(shelf, f"{'d' * 255}/{'f' * 255}", b"2")
    assert len(files_in(tmp_path)) == 2


@pytest.fixture
def caseless(monkeypatch):
    """A file system that takes a name for any other that differs by case alone, as macOS's."""

    def find(name: str, folder: int) -> str:
        return next((each for each in os.listdir(folder) if each.lower() == name.lower()), name)

    look, make = shelves.look_at, shelves.make_folder
    monkeypatch.setattr(shelves, "look_at", lambda name, within, *more: look(find(name, within), within, *more))
    monkeypatch.setattr(shelves, "make_folder", lambda name, within: make(find(name, within), within))
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *words, **more: real(find(path, within), *words, **more)
        if (within := more.get("dir_fd")) else real(path, *words, **more)
    )  # fmt: skip


def test_names_that_are_one_to_the_file_system_lose_nothing(tmp_path, caseless):
    for _ in range(2):
        with opened(tmp_path) as shelf:
            for path in ("Model", "model", "MODEL", "Data/x", "data/X", "data/y"):
                put(shelf, path, path.encode())
    assert sorted(files_in(tmp_path).values()) == sorted(["Model", "model", "MODEL", "Data/x", "data/X", "data/y"])


@pytest.mark.parametrize(
    ("path", "inert"),
    [
        (".envrc", ".envrc.from-node"),
        ("a/.vscode/tasks.json", "a/.vscode.from-node/tasks.json"),
        ("a/.VSCode./tasks.json", "a/.VSCode..from-node/tasks.json"),
        ("conftest.py", "conftest.py.from-node"),
        ("d/head", "d/head.from-node"),
        ("HEAD", "HEAD.from-node"),
        ("head/weights", "head/weights"),
        ("evil\x1b]0;x\x07", "evil%1B]0;x%07"),
        ("model.pt", "model.pt"),
        ("test_accuracy.csv", "test_accuracy.csv"),
    ],
)
def test_what_something_may_execute_gets_an_inert_name(path, inert):
    assert str(make_inert(read_path(path))[0]) == inert


@pytest.mark.parametrize(
    "name",
    [".git", ".GIT", ".git.", ".git ", ".git . .", ".git::$INDEX_ALLOCATION", "git~1", "GIT~12", ".g\u200cit", ".git\ufeff",
     "a\\.git", ".\uff47\uff49\uff54", ".hg", ".svn", ".jj", "_darcs"],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["{}", "{}/config", "a/b/{}/hooks/x", "{}/{}/y"])
def test_no_repository_is_ever_downloaded(tmp_path, name, shape):
    path = shape.format(name, name)
    with opened(tmp_path) as shelf:
        put(shelf, path, b"x")
        link(shelf, path, "x")
        put(shelf, "a/b/c", b"x")
    assert files_in(tmp_path) == {"a/b/c": "x"}
    [withheld] = read_receipt(tmp_path / "c-1")["withheld"]
    assert (withheld["files"], withheld["path"].endswith(name)) == (2, True)


@pytest.mark.parametrize(
    "name", ["git", ".gitignore", ".gitattributes", "git~x", "x.git", ".github/workflows", "agit~1"]
)
def test_what_is_no_repository_is_downloaded(tmp_path, name):
    with opened(tmp_path) as shelf:
        put(shelf, f"{name}/x", b"x")
    assert files_in(tmp_path) == {f"{name}/x": "x"}


def test_a_pipe_in_the_way_is_not_waited_for(tmp_path):
    with opened(tmp_path):
        os.mkfifo(tmp_path / "c-1/files/a")
    with opened(tmp_path) as shelf:
        put(shelf, "a", b"x")
        put(shelf, "a/b", b"y")
    assert (tmp_path / "c-1/files/a.from-node").read_bytes() == b"x"
