"""Which files travel."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import ProjectError, UsageError
from infra.git import read_changes, read_commit
from infra.names import check_name, name_for
from infra.project import read_project


def paths(folder: Path) -> list[str]:
    return [file.path for file in read_project(folder).files]


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", folder, *words], check=True, capture_output=True
    )


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.mark.parametrize("repository", [True, False])
def test_ignore_rules_hold_in_a_repository_and_outside_of_one(tmp_path, repository):
    if repository:
        git(tmp_path, "init")
    write(tmp_path, "a.py", "data/big", "data/keep", "sub/b.log", "sub/c.py", "runs/x-1/model.pt", "__pycache__/a.pyc")
    (tmp_path / ".gitignore").write_text("data/*\n!data/keep\n*.log\n")
    assert set(paths(tmp_path)) == {".gitignore", "a.py", "data/keep", "sub/c.py"}


def test_tracked_untracked_and_deleted_files_are_seen_as_git_sees_them(tmp_path):
    git(tmp_path, "init")
    write(tmp_path, "tracked", "tracked-though-ignored", "deleted", "excluded")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "deleted").unlink()
    write(tmp_path, "untracked", "local-only")
    (tmp_path / ".gitignore").write_text("tracked-though-ignored\n")
    (tmp_path / ".git/info/exclude").write_text("local-only\n")
    files = set(paths(tmp_path))
    assert files == {".gitignore", "tracked", "tracked-though-ignored", "excluded", "untracked"}


def test_what_git_tracks_travels_even_from_a_folder_that_looks_like_a_cache(tmp_path):
    git(tmp_path, "init")
    write(tmp_path, "sub/runs/conf.py", "venv/tracked.py")
    git(tmp_path, "add", ".")
    write(tmp_path, "venv/untracked.py", "runs/x-1/model.pt", "sub/runs/new.py")
    assert set(paths(tmp_path)) == {"sub/runs/conf.py", "venv/tracked.py", "sub/runs/new.py"}


def test_repositories_inside_travel_with_their_own_rules(tmp_path):
    git(tmp_path, "init")
    inner = tmp_path / "vendor" / "library"
    inner.mkdir(parents=True)
    git(inner, "init")
    write(inner, "lib.py", "lib.o")
    (inner / ".gitignore").write_text("*.o\n")
    assert set(paths(tmp_path)) == {"vendor/library/lib.py", "vendor/library/.gitignore"}


def test_submodules_travel(tmp_path):
    library, project = tmp_path / "library", tmp_path / "project"
    for folder in (library, project):
        folder.mkdir()
        git(folder, "init")
    write(library, "lib.py")
    git(library, "add", ".")
    git(library, "commit", "-m", "first")
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", str(library), "lib")
    assert set(paths(project)) == {".gitmodules", "lib/lib.py", "lib/.git"} - {"lib/.git"}


def test_secrets_are_named_and_stay(tmp_path):
    secrets = [".env", ".env.local", "keys/server.pem", "id_ed25519", ".aws/credentials", "sub/.netrc", ".ssh/config"]
    write(tmp_path, "train.py", "environment.py", *secrets)
    project = read_project(tmp_path)
    assert {file.path for file in project.files} == {"train.py", "environment.py"}
    assert set(project.left_out) == set(secrets)


def test_links_inside_travel_and_those_to_folders_outside_are_named_and_stay(tmp_path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    write(project, "data/a")
    write(outside, "labels.csv", "id_rsa", "folder/b")
    links = {"inside": "data/a", "folder": "data", "broken": "../elsewhere", "big": "../outside/folder"}
    for name, target in links.items():
        (project / name).symlink_to(target)
    (project / "labels.csv").symlink_to(outside / "labels.csv")
    (project / "key").symlink_to(outside / "id_rsa")
    found = read_project(project)
    sent = {file.path: file.link for file in found.files}
    assert sent == {"data/a": None, "inside": "data/a", "folder": "data", "labels.csv": None}
    assert set(found.left_out) == {"broken", "big", "key"}


def test_folders_with_nothing_in_them_travel(tmp_path):
    for name, repository in (("plain", False), ("repository", True)):
        folder = tmp_path / name
        for empty in ("out/deep", "src/none", "ignored", "venv"):
            (folder / empty).mkdir(parents=True)
        write(folder, "src/a.py")
        (folder / ".gitignore").write_text("ignored/\n")
        if repository:
            git(folder, "init")
            git(folder, "add", ".")
        assert set(read_project(folder).folders) == {"out/deep", "src/none"}


def test_a_project_s_own_rules_take_away_and_add(tmp_path):
    git(tmp_path, "init")
    write(tmp_path, "a.py", "notes/x.ipynb", "docs/big.pdf", "data/labels.csv", "data/images/1.png", ".env", "sub/.env")
    (tmp_path / ".gitignore").write_text("data/\n")
    git(tmp_path, "add", ".")
    (tmp_path / ".gpujobignore").write_text("notes/\n*.pdf\n")
    (tmp_path / "gpujob.toml").write_text(
        '[sync]\nexclude = ["/.gpujobignore", ".gitignore"]\ninclude = ["data/*.csv"]\n'
    )
    assert set(paths(tmp_path)) == {"a.py", "gpujob.toml", "data/labels.csv"}
    (tmp_path / "gpujob.toml").write_text('[sync]\ninclude = ["data/", "sub/.env"]\n')
    found = read_project(tmp_path)
    assert {file.path for file in found.files} >= {"data/labels.csv", "data/images/1.png", "sub/.env", "a.py"}
    assert found.left_out == (".env",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sync", "cannot be read"),
        ("[sync]\nexlude = []", "knows include and exclude"),
        ('[sync]\ninclude = "data"', "not a list of patterns"),
        ("gpu = 'T4'", "stands outside of a table"),
    ],
)
def test_settings_that_are_none_are_refused_with_a_line_that_says_why(tmp_path, text, says):
    write(tmp_path, "a.py")
    (tmp_path / "gpujob.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_project(tmp_path)


RULE = st.sampled_from(
    ["a", "*.b", "/a", "a/", "!a", "!*.b", "d/**/a", "**/c", "!d/a", "d/*", "!d/", "#x", "\\#x", "c ", "?", "[ab]"]
)
PATH = st.lists(st.sampled_from(["a", "d", "c", "x.b", "#x", "e"]), min_size=1, max_size=3).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(files=st.sets(PATH, min_size=1, max_size=8), rules=st.lists(RULE, max_size=5), inner=st.lists(RULE, max_size=3))
def test_outside_a_repository_the_same_files_travel_as_inside_one(tmp_path_factory, files, rules, inner):
    folder = tmp_path_factory.mktemp("rules")
    for name in files:
        if not any(other.startswith(f"{name}/") for other in files):
            write(folder, name)
    (folder / ".gitignore").write_text("\n".join(rules))
    if (folder / "d").is_dir():
        (folder / "d" / ".gitignore").write_text("\n".join(inner))
    without = paths(folder)
    git(folder, "init")
    assert without == paths(folder)


def test_a_file_that_changes_within_a_tick_of_the_clock_is_read_again(tmp_path):
    write(tmp_path, "a.py")
    before = read_project(tmp_path).snapshot
    info = (tmp_path / "a.py").stat()
    (tmp_path / "a.py").write_text("b.py")
    os.utime(tmp_path / "a.py", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert read_project(tmp_path).snapshot != before


def test_the_project_is_the_repository_around_the_folder(tmp_path):
    git(tmp_path, "init")
    write(tmp_path, "a.py", "deep/er/b.py")
    project = read_project(tmp_path / "deep" / "er")
    assert (project.root, project.workdir) == (tmp_path, "deep/er")
    assert {file.path for file in project.files} == {"a.py", "deep/er/b.py"}


def test_the_home_folder_and_the_root_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, Path("/")):
        with pytest.raises(ProjectError, match="is not a project folder"):
            read_project(folder)


def test_without_git_a_repository_cannot_be_read_and_a_folder_can(tmp_path, monkeypatch):
    write(tmp_path, "a.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert paths(tmp_path) == ["a.py"]
    assert (read_commit(tmp_path), read_changes(tmp_path)) == ({}, b"")
    (tmp_path / ".git").mkdir()
    with pytest.raises(ProjectError, match="git is not installed"):
        read_project(tmp_path)


def test_a_hook_s_git_variables_do_not_lead_elsewhere(tmp_path, monkeypatch):
    other, project = tmp_path / "other", tmp_path / "project"
    for folder in (other, project):
        folder.mkdir()
        git(folder, "init")
        write(folder, f"{folder.name}.py")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert paths(project) == ["project.py"]


def test_a_repository_without_a_commit_has_none_to_tell(tmp_path):
    git(tmp_path, "init")
    assert read_commit(tmp_path) == {}


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(name=NAMES.filter(lambda n: n not in {".", "..", ".git", ".gitignore"} and len(os.fsencode(n)) < 200))
def test_a_file_of_any_name_is_listed_once_or_left_out_for_a_reason(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    (folder / name).write_bytes(b"x")
    project = read_project(folder)
    assert [file.path for file in project.files] + list(project.left_out) in ([name], [])


@given(st.text(min_size=1).filter(lambda n: "/" not in n and "\0" not in n))
def test_any_folder_gives_a_cluster_name(name):
    assert check_name(name_for(Path(name)))


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a" * 41, "a/b", "ä", "a\n"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(UsageError):
        check_name(name)
