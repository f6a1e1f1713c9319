"""Outputs come home to their own folder and nowhere else, whatever the node says."""

import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import NodeError, ProjectError
from infra.homecoming import make_link, place_for
from infra.model import Output
from infra.ssh.carry import write_verified


def output(path: str, content: bytes = b"", link: str | None = None) -> Output:
    return Output(path, len(content), hashlib.sha256(content).hexdigest(), 0o644, link)


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
            write_verified(
                io.BytesIO(b"x"), output(f"{path}/file", b"x"), place_for(output(f"{path}/file"), folder, {}), print
            )
        except (NodeError, ProjectError):
            continue
    assert [p.name for p in outer.iterdir()] == ["run"]
    for found in folder.rglob("*"):
        assert Path(os.path.realpath(found)).is_relative_to(folder)


def test_a_file_that_is_not_what_was_announced_never_takes_its_name(tmp_path):
    assert write_verified(io.BytesIO(b"other"), output("a", b"announced"), tmp_path / "a", lambda _: None) is False
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a").write_text("a file where a folder must be")
    with pytest.raises(ProjectError, match="cannot be written"):
        write_verified(io.BytesIO(b""), output("a/b"), tmp_path / "a" / "b", lambda _: None)


def test_a_file_changed_here_since_the_last_fetch_is_not_overwritten(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    before = {"a": hashlib.sha256(b"old").hexdigest()}
    assert place_for(output("a", b"new"), tmp_path, before) == tmp_path / "a.from-node"
    (tmp_path / "a").write_bytes(b"old")
    assert place_for(output("a", b"new"), tmp_path, before) == tmp_path / "a"
