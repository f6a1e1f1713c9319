"""What [data] of gpujob.toml may say, and which files of a data set are sent."""

import os

import pytest

from infra.errors import GpujobError, UsageError
from infra.project.datasets import list_files, read_source, read_sources
from infra.project.files import read_project
from infra.project.settings import read_settings


def settings(folder, text):
    (folder / "gpujob.toml").write_text(text)
    return read_settings(folder)


def test_folders_and_places_are_read(tmp_path):
    found = settings(tmp_path, '[data]\nfolders = ["data/a/"]\n"./b" = "s3://bucket/b"\n').data
    assert found == {"data/a": "data/a/", "b": "s3://bucket/b"}
    assert settings(tmp_path, '[data]\nfolders = "/mnt/folders"\n').data == {"folders": "/mnt/folders"}


@pytest.mark.parametrize(
    "table",
    [
        "data = 1",
        "[data]\nx = 1",
        "[data]\nfolders = [1]",
        '[data]\n"../x" = "y"',
        '[data]\n"/x" = "y"',
        '[data]\n"." = "y"',
        '[data]\n".git/x" = "y"',
        '[data]\n"runs" = "y"',
        '[data]\nfolders = ["data", "data/cats"]',
    ],
)
def test_a_path_outside_the_project_or_inside_another_set_is_refused(tmp_path, table):
    with pytest.raises(UsageError):
        settings(tmp_path, table)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/x",
        "https://me:password@example.org/x#sha256=" + "0" * 64,
        "ftp://example.org/x",
        "s3://",
        "~",
        "/",
        "~/.ssh",
        "nothing",
    ],
)
def test_an_address_that_is_unsafe_or_leads_nowhere_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(GpujobError):
        read_source(tmp_path, "x", address)


def test_the_query_of_an_address_is_not_shown(tmp_path):
    source = read_source(tmp_path, "x", "https://example.org/x?sign=abc#sha256=" + "A" * 64)
    assert source.shown == "https://example.org/x"
    assert (source.address, source.sha256) == ("https://example.org/x?sign=abc", "a" * 64)


def test_a_link_in_the_project_leads_out_of_it(tmp_path):
    root, outside = tmp_path / "project", tmp_path / "outside"
    (root / "inside").mkdir(parents=True)
    outside.mkdir()
    (root / "data").symlink_to(outside)
    found = {each.path: each.leads_out(root) for each in read_sources(root, {"data": "data", "inside": "inside"})}
    assert found == {"data": True, "inside": False}


def test_secrets_links_that_lead_out_and_git_are_not_part_of_a_set_and_holes_do_not_count(tmp_path):
    root = tmp_path / "data"
    (root / "deep/.git").mkdir(parents=True)
    (root / "deep/.git/config").write_text("x")
    (root / "deep/.env").write_text("KEY=1")
    (root / "deep/out").symlink_to("/etc/passwd")
    (root / "deep/in").symlink_to("x")
    (root / "deep/x").write_text("x")
    with (root / "sparse").open("wb") as file:
        os.truncate(file.fileno(), 1 << 24)
    listing = list_files(read_source(tmp_path, "d", "data"), root, lambda _: None)
    assert [each.path for each in listing.files] == ["sparse", "deep/in", "deep/x"]
    assert (listing.secret, listing.links) == (("deep/.env",), ("deep/out",))
    assert listing.size_bytes <= 4096


def test_what_lies_in_a_data_set_is_not_uploaded_with_the_code(tmp_path):
    for name in ("train.py", "data/cats/x", "data/dogs/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    settings(tmp_path, '[data]\nfolders = ["data/cats"]\n[sync]\ninclude = ["data/cats/x"]\n')
    assert [each.path for each in read_project(tmp_path).files] == ["data/dogs/x", "gpujob.toml", "train.py"]


def test_the_version_depends_on_names_and_contents_only(tmp_path):
    versions = []
    for folder, name, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
        source = read_source(tmp_path, "d", folder)
        versions.append(list_files(source, tmp_path / folder, lambda _: None).data_set.version)
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
