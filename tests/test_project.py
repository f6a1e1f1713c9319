"""Which files travel."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import ProjectError, UsageError
from infra.names import check_name, name_for
from infra.project import read_commit, read_project


def paths(folder: Path) -> list[str]:
    return [file.path for file in read_project(folder).files]


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", folder, *words], check=True, capture_output=True
    )


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


def test_links_inside_travel_and_links_outside_are_named_and_stay(tmp_path):
    write(tmp_path, "data/a")
    (tmp_path / "inside").symlink_to("data/a")
    (tmp_path / "folder").symlink_to("data")
    (tmp_path / "absolute").symlink_to(tmp_path / "data")
    (tmp_path / "outside").symlink_to("../elsewhere")
    project = read_project(tmp_path)
    assert {file.path for file in project.files} == {"data/a", "inside", "folder"}
    assert set(project.left_out) == {"absolute", "outside"}


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


def test_without_git_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
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
