"""Uploading while files are written to: what the node is told of is what it gets."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from infra.project.files import Project, read_project
from infra.run.upload import Upload, upload_project
from infra.ssh.carry import ChangedError
from tests.conftest import Laptop, wait_for

HEAD = struct.Struct(">BI")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("a\n")
    (tmp_path / "app.log").write_text("one line\n")
    (tmp_path / "data.db").write_text("before\n")
    return tmp_path


def send(upload: Upload) -> dict[str, bytes]:
    """Send every file; return what came, by path, after checking it against the hash that was announced."""
    stream = io.BytesIO()
    files = upload.find([file.sha256 for file in upload.project.files if file.link is None])
    upload.send(files, stream, lambda _: None)
    content, raw = b"", io.BytesIO(stream.getvalue())
    while head := raw.read(HEAD.size):
        kind, length = HEAD.unpack(head)
        content += zlib.decompress(raw.read(length)) if kind else raw.read(length)
    came = {}
    for file in files:
        came[file.path], content = content[: file.size_bytes], content[file.size_bytes :]
        assert hashlib.sha256(came[file.path]).hexdigest() == file.sha256
    assert content == b""
    return came


def after(project: Project, *changes) -> tuple[Upload, dict[str, bytes]]:
    """Upload a project that changes once before each attempt; return the last attempt and what came."""
    waiting = list(changes)

    def attempt(upload: Upload) -> tuple[Upload, dict[str, bytes]]:
        if waiting:
            waiting.pop(0)()
        return upload, send(upload)

    return upload_project(project, attempt)


def test_a_log_that_grows_is_sent_as_far_as_it_went(folder):
    project = read_project(folder)
    upload, came = after(project, lambda: (folder / "app.log").open("a").write("another\n"))
    assert came["app.log"] == b"one line\n"
    assert upload.project == project


def test_a_file_that_is_written_over_is_sent_as_it_was_at_one_moment(folder):
    times = iter(range(9))

    def write() -> None:
        (folder / "data.db").write_text(f"number {next(times)}\n")

    upload, came = after(read_project(folder), write, write, write)
    assert came["data.db"] == b"number 0\n", "a copy of it, which nobody writes to"
    assert came["a.py"] == b"a\n"
    assert upload.project.snapshot != read_project(folder).snapshot


def test_a_file_of_the_same_size_and_time_is_noticed_too(folder):
    info = (folder / "data.db").stat()

    def write() -> None:
        (folder / "data.db").write_text("after.\n")
        os.utime(folder / "data.db", ns=(info.st_atime_ns, info.st_mtime_ns))

    _, came = after(read_project(folder), write)
    assert came["data.db"] == b"after.\n"


def test_a_file_that_is_deleted_or_becomes_a_link_is_so_for_the_job_too(folder):
    def change() -> None:
        (folder / "data.db").unlink()
        (folder / "app.log").unlink()
        (folder / "app.log").symlink_to("a.py")

    upload, came = after(read_project(folder), change)
    assert came == {"a.py": b"a\n"}
    assert {file.path: file.link for file in upload.project.files} == {"a.py": None, "app.log": "a.py"}


def test_a_file_that_becomes_a_link_to_one_outside_is_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "private"
    outside.write_text("private")

    def change() -> None:
        (folder / "data.db").unlink()
        (folder / "data.db").symlink_to(outside)

    _, came = after(read_project(folder), change)
    assert set(came) == {"a.py", "app.log"}


def test_a_file_that_was_cut_short_while_it_was_listed_is_read_again(folder):
    project = read_project(folder)
    files = tuple(replace(f, size_bytes=99) if f.path == "data.db" else f for f in project.files)
    _, came = after(replace(project, files=files))
    assert came["data.db"] == b"before\n"


def test_what_changes_for_ever_is_named(folder):
    names = [f"{number}.txt" for number in range(30)]
    for name in names:
        (folder / name).write_text("x")
    project = read_project(folder)

    def attempt(upload: Upload) -> None:
        raise ChangedError(next(name for name in names if name not in upload.copies))

    with pytest.raises(ChangedError, match=r"9\.txt' changed during the upload"):
        upload_project(project, attempt)


def test_a_run_works_while_a_log_and_a_database_of_the_project_are_written_to(project: Laptop):
    project.write("app.log", "x" * 100_000)
    project.write("data.db", "x" * 100_000)
    project.write("train.py", "print(len(open('app.log').read()) >= 100_000, len(open('data.db').read()))\n")
    script = (
        "import time\n"
        "for number in range(10**9):\n"
        "    open('app.log', 'a').write('line\\n')\n"
        "    with open('data.db', 'r+') as file: file.write(str(number) * 500)\n"
        "    time.sleep(0.001)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], cwd=project.project)
    try:
        wait_for(lambda: (project.project / "app.log").stat().st_size > 100_000, "growth of the log")
        run = project.type("run", "train.py")
    finally:
        writer.kill()
        writer.wait()
    assert run.code == 0, run.said
    assert "True 100000" in run.out
