"""Outputs come home to their own folder and nowhere else, whatever the node says."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import NodeError, ProjectError
from infra.fetch import make_link, place_for
from infra.model import Output
from infra.ssh.carry import part_size, read_exactly, write_verified
from infra.ssh.connection import DroppedError


def output(path: str, content: bytes = b"", link: str | None = None) -> Output:
    return Output(path, len(content), hashlib.sha256(content).hexdigest(), 0o644, link)


def arriving(content: bytes, announced_bytes: int) -> Iterator[bytes]:
    return read_exactly(io.BytesIO(content), announced_bytes)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..", "", ".", "a\0b", "/", "a/..", "./../x"])
def test_a_path_that_leads_outside_is_refused(tmp_path, path):
    with pytest.raises(NodeError, match="leads outside"):
        place_for(output(path), tmp_path / "run", {})


PARTS = st.sampled_from(["a", "b", "..", ".", "", "/", "c c", "\n", "\x1b[31m", "é", "\udcff"])


@given(st.lists(PARTS, max_size=8).map("/".join))
def test_any_path_stays_inside_or_is_refused(path):
    folder = Path("/nonexistent/run")
    try:
        place = place_for(output(path), folder, {})
    except NodeError:
        return
    assert Path(os.path.normpath(place)).is_relative_to(folder)
    assert Path(os.path.normpath(place)) != folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    links=st.lists(st.tuples(st.sampled_from(["a", "b", "a/c"]), st.lists(PARTS, max_size=5).map("/".join)), max_size=6)
)
def test_no_series_of_links_lets_a_file_out(tmp_path_factory, links):
    outer = tmp_path_factory.mktemp("outer")
    folder = outer / "run"
    folder.mkdir()
    for path, target in links:
        try:
            make_link(output(path, link=target), place_for(output(path), folder, {}), folder)
            place = place_for(output(f"{path}/file"), folder, {})
            write_verified(arriving(b"x", 1), output(f"{path}/file", b"x"), place, lambda _: None)
        except (NodeError, ProjectError):
            continue
    assert [p.name for p in outer.iterdir()] == ["run"]
    for found in folder.rglob("*"):
        assert Path(os.path.realpath(found)).is_relative_to(folder)


def test_a_file_that_is_not_what_was_announced_never_takes_its_name(tmp_path):
    assert write_verified(arriving(b"other", 5), output("a", b"announced"), tmp_path / "a", lambda _: None) is False
    assert list(tmp_path.iterdir()) == []


def test_what_came_before_a_break_is_kept_and_gone_on_from(tmp_path):
    whole, place = output("a", b"0123456789"), tmp_path / "a"
    with pytest.raises(DroppedError):
        write_verified(arriving(b"0123", 10), whole, place, lambda _: None)
    assert part_size(whole, place) == 4
    assert part_size(output("a", b"another content"), place) == 0
    assert write_verified(arriving(b"456789", 6), whole, place, lambda _: None) is True
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_in_the_place_of_a_folder_is_moved_aside(tmp_path):
    (tmp_path / "ck").write_text("an output of before")
    assert place_for(output("ck/a"), tmp_path, {}) == tmp_path / "ck" / "a"
    assert (tmp_path / "ck.earlier").read_text() == "an output of before"


def test_a_folder_in_the_place_of_a_file_stays(tmp_path):
    (tmp_path / "ck").mkdir()
    assert place_for(output("ck"), tmp_path, {}) == tmp_path / "ck.from-node"


def test_a_link_is_made_again_when_the_job_changed_it(tmp_path):
    for target in ("one", "two"):
        assert make_link(output("latest", link=target), tmp_path / "latest", tmp_path)
        assert (tmp_path / "latest").readlink() == Path(target)
    assert not make_link(output("out", link="/etc/passwd"), tmp_path / "out", tmp_path)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a").write_text("a file where a folder must be")
    with pytest.raises(ProjectError, match="cannot be written"):
        write_verified(arriving(b"", 0), output("a/b"), tmp_path / "a" / "b", lambda _: None)


def test_a_file_changed_here_since_the_last_fetch_is_not_overwritten(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    before = {"a": hashlib.sha256(b"old").hexdigest()}
    assert place_for(output("a", b"new"), tmp_path, before) == tmp_path / "a.from-node"
    (tmp_path / "a").write_bytes(b"old")
    assert place_for(output("a", b"new"), tmp_path, before) == tmp_path / "a"
