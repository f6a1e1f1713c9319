"""Which files travel."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import ProjectError, UsageError
from infra.names import check_name, name_for
from infra.project.files import LINK, SENSITIVE, SUBMODULE, read_project
from infra.project.hashes import prune
from infra.run.source import read_source


def withheld(folder: Path) -> dict[str, str]:
    return {each.path: each.reason for each in read_project(folder).withheld}


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
    write(tmp_path, "a.py", "data/big", "data/keep", "sub/b.log", "sub/c.py", "__pycache__/a.pyc")
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
    write(tmp_path, "node_modules/conf.js", "venv/tracked.py")
    git(tmp_path, "add", ".")
    write(tmp_path, "venv/untracked.py", "node_modules/new.js")
    assert set(paths(tmp_path)) == {"node_modules/conf.js", "venv/tracked.py"}


@pytest.mark.parametrize("repository", [True, False])
def test_a_folder_with_an_environment_in_it_stays_whatever_its_name(tmp_path, repository):
    if repository:
        git(tmp_path, "init")
    write(tmp_path, "train.py", "env/pyvenv.cfg", "env/bin/python", "conda/conda-meta/history", "conda/bin/python")
    write(tmp_path, "deep/my env/pyvenv.cfg", "deep/my env/lib/x.py", "deep/keep.py", ".env/pyvenv.cfg", ".env/x.py")
    (tmp_path / "env" / "share").mkdir()
    (tmp_path / ".gitignore").write_text("*.cfg\n")
    project = read_project(tmp_path)
    assert {file.path for file in project.files} == {".gitignore", "train.py", "deep/keep.py"}
    assert (project.withheld, project.folders) == ((), ())


@pytest.mark.parametrize("repository", [True, False])
def test_a_runs_folder_of_the_project_s_own_is_uploaded_and_downloaded_results_are_not(tmp_path, repository):
    if repository:
        git(tmp_path, "init")
    write(
        tmp_path, "a.py", "runs/baseline.csv", "runs/exp-2/notes.md", "runs/gp-1/receipt.json", "runs/gp-1/files/b.py"
    )
    write(tmp_path, "sub/runs/gp-2/receipt.json", "sub/runs/gp-2/files/c.py")
    (tmp_path / "runs/gp-1/files/empty").mkdir()
    project = read_project(tmp_path)
    assert {file.path for file in project.files} == {"a.py", "runs/baseline.csv", "runs/exp-2/notes.md"}
    assert project.folders == ()
    (tmp_path / "gpujob.toml").write_text('[sync]\ninclude = ["*.py", "runs/gp-1/", "sub/runs/gp-2/files/c.py"]\n')
    assert set(paths(tmp_path)) - {"a.py", "gpujob.toml", "runs/baseline.csv", "runs/exp-2/notes.md"} == {
        "sub/runs/gp-2/files/c.py"  # named, so that a job can go on from what another has left
    }


def test_repositories_inside_travel_with_their_own_rules(tmp_path):
    git(tmp_path, "init")
    inner = tmp_path / "vendor" / "library"
    inner.mkdir(parents=True)
    git(inner, "init")
    write(inner, "lib.py", "lib.o")
    (inner / ".gitignore").write_text("*.o\n")
    assert set(paths(tmp_path)) == {"vendor/library/lib.py", "vendor/library/.gitignore"}


def make_project_with_submodule(project: Path, library: Path) -> None:
    for folder in (library, project):
        folder.mkdir()
        git(folder, "init")
    write(library, "lib.py")
    git(library, "add", ".")
    git(library, "commit", "-m", "first")
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", str(library), "lib")


def test_submodules_travel(tmp_path):
    library, project = tmp_path / "library", tmp_path / "project"
    make_project_with_submodule(project, library)
    assert set(paths(project)) == {".gitmodules", "lib/lib.py", "lib/.git"} - {"lib/.git"}


def test_a_submodule_that_is_not_checked_out_is_named(tmp_path):
    library, project, clone = tmp_path / "library", tmp_path / "project", tmp_path / "clone"
    make_project_with_submodule(project, library)
    git(project, "commit", "-m", "first")
    git(tmp_path, "clone", str(project), str(clone))
    git(project, "worktree", "add", str(tmp_path / "worktree"))
    for folder in (clone, tmp_path / "worktree"):
        assert withheld(folder) == {"lib": SUBMODULE}
        assert paths(folder) == [".gitmodules"]
    (clone / ".gpujobignore").write_text("lib\n")
    assert withheld(clone) == {}


def test_secrets_are_named_and_stay(tmp_path):
    secrets = [".env", ".env.local", "keys/server.pem", "id_ed25519", ".aws/credentials", "sub/.netrc", ".ssh/config"]
    write(tmp_path, "train.py", "environment.py", *secrets)
    assert set(paths(tmp_path)) == {"train.py", "environment.py"}
    assert withheld(tmp_path) == dict.fromkeys(secrets, SENSITIVE)


@pytest.mark.parametrize("repository", [True, False])
def test_links_inside_are_uploaded_and_those_that_lead_outside_are_named_and_never_followed(tmp_path, repository):
    project, outside = tmp_path / "project", tmp_path / "outside"
    write(project, "data/a")
    write(outside, "labels.csv", "folder/b")
    inside = {"inside": "data/a", "folder": "data", "dangling": "data/none"}
    leading_out = {
        "broken": "../elsewhere",
        "big": "../outside/folder",
        "labels.csv": str(outside / "labels.csv"),
        "relative.csv": "../outside/labels.csv",
        "back": str(project / "data/a"),
        "through": "big/b",
    }
    for name, target in {**inside, **leading_out}.items():
        (project / name).symlink_to(target)
    if repository:
        git(project, "init")
        git(project, "add", ".")
    found = read_project(project)
    assert {file.path: file.link for file in found.files} == {"data/a": None, **inside}
    assert withheld(project) == dict.fromkeys(leading_out, LINK)


def test_a_folder_that_has_become_a_link_is_not_followed_to_the_files_that_git_remembers(tmp_path):
    project, outside = tmp_path / "project", tmp_path / "outside"
    write(project, "gh/hosts.yaml", "a.py")
    write(outside, "hosts.yaml")
    git(project, "init")
    git(project, "add", ".")
    (project / "gh/hosts.yaml").unlink()
    (project / "gh").rmdir()
    (project / "gh").symlink_to(outside)
    assert paths(project) == ["a.py"]
    (project / "gpujob.toml").write_text('[sync]\ninclude = ["gh/hosts.yaml", "gh/"]\n')
    assert paths(project) == ["a.py", "gpujob.toml"]


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


@pytest.mark.parametrize("settings", ["the project's", "the repository's", "the person's"])
def test_folders_with_nothing_in_them_stay_when_they_are_ignored(tmp_path, monkeypatch, settings):
    folder, home = tmp_path / "project", tmp_path / "home"
    write(folder, "inner/.gitkeep", "train.py")
    git(folder, "init")
    git(folder / "inner", "init")
    for name in ("notes/deep", "kept", "inner/notes", "inner/kept"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (home / ".config/git").mkdir(parents=True)
    ignoring = {"the project's": ".gitignore", "the repository's": ".git/info/exclude"}
    for top in (folder, folder / "inner"):
        place = top / ignoring[settings] if settings in ignoring else home / ".config/git/ignore"
        place.write_text("notes/\n")
    assert set(read_project(folder).folders) == {"kept", "inner/kept"}


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
    assert withheld(tmp_path) == {".env": SENSITIVE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sync", "cannot read"),
        ("[sync]\nexlude = []", "accepts only include and exclude"),
        ('[sync]\ninclude = "data"', "is not a list of patterns"),
        ('[sync]\ninclude = ["../../.ssh/id_ed25519"]', "is outside the project"),
        ('[sync]\nexclude = ["data/../../x"]', "is outside the project"),
        ('[sync]\ninclude = ["~/.ssh/id_ed25519"]', "is outside the project"),
        ('[sync]\ninclude = ["/etc/passwd"]', "is outside the project"),
        ('[sync]\ninclude = ["!../x"]', "is outside the project"),
        ('[sync]\nexclude = ["a\\nb"]', "more than one line"),
        ("gpu = 'T4'", "is outside a table"),
    ],
)
def test_settings_that_are_none_are_refused_with_a_line_that_says_why(tmp_path, text, says):
    write(tmp_path, "a.py")
    (tmp_path / "gpujob.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_project(tmp_path)


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
    for folder in (tmp_path, tmp_path.parent, Path("/")):
        with pytest.raises(ProjectError, match="is not a project folder"):
            read_project(folder)


def test_below_a_repository_of_the_home_folder_a_repository_of_its_own_is_suggested(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    git(tmp_path, "init")
    write(tmp_path, "code/a.py")
    with pytest.raises(ProjectError, match="code belongs to the git repository") as refused:
        read_project(tmp_path / "code")
    assert refused.value.hint == "make this folder a repository of its own: git init"
    git(tmp_path / "code", "init")
    assert paths(tmp_path / "code") == ["a.py"]


def test_without_git_a_repository_cannot_be_read_and_a_folder_can(tmp_path, monkeypatch):
    git(tmp_path, "init")
    write(tmp_path, "a.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".git").rename(tmp_path / "metadata")
    (tmp_path / ".gpujobignore").write_text("metadata/\n")
    assert paths(tmp_path) == [".gpujobignore", "a.py"]
    assert read_source(read_project(tmp_path)).facts == {}
    (tmp_path / "metadata").rename(tmp_path / ".git")
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
    write(tmp_path, "a.py")
    assert read_source(read_project(tmp_path)).facts == {}


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=40)


@settings(max_examples=50)
@given(name=NAMES.filter(lambda n: n not in {".", "..", ".git", ".gitignore"} and len(os.fsencode(n)) < 200))
def test_a_file_of_any_name_is_listed_once_or_left_out_for_a_reason(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    (folder / name).write_bytes(b"x")
    project = read_project(folder)
    assert [each.path for each in (*project.files, *project.withheld)] in ([name], [])


@given(st.text(min_size=1).filter(lambda n: "/" not in n and "\0" not in n))
def test_any_folder_gives_a_cluster_name(name):
    assert check_name(name_for(Path(name)))


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a" * 41, "a/b", "ä", "a\n"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(UsageError):
        check_name(name)


def test_the_hashes_of_projects_that_were_not_used_for_long_are_removed(tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}.json"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    prune(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.json", "4.json"]
