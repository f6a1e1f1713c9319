"""Where a repository begins and which commit it is at, read without git: git's own answers are the same."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.git.repository import find_repository, open_repository


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def worktree(folder: Path) -> Path:
    git(folder, "worktree", "add", "-q", "../worktree")
    git(folder, "commit", "-q", "--allow-empty", "-m", "second")
    return folder.parent / "worktree"


def packed(folder: Path) -> Path:
    git(folder, "branch", "other")
    git(folder, "tag", "-a", "v1", "-m", "annotated")
    git(folder, "pack-refs", "--all", "--prune")
    assert not (folder / ".git/refs/heads").exists() or not list((folder / ".git/refs/heads").iterdir())
    return folder


def detached(folder: Path) -> Path:
    git(folder, "checkout", "-q", "--detach")
    return folder


def nested_branch(folder: Path) -> Path:
    git(folder, "checkout", "-q", "-b", "a/b/c")
    return folder


def symbolic_branch(folder: Path) -> Path:
    git(folder, "symbolic-ref", "refs/heads/alias", git(folder, "symbolic-ref", "HEAD"))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/alias")
    return folder


def linked_head(folder: Path) -> Path:
    branch = git(folder, "symbolic-ref", "HEAD")
    (folder / ".git/HEAD").unlink()
    (folder / ".git/HEAD").symlink_to(branch)
    return folder


def moved(folder: Path) -> Path:
    git(folder, "init", "-q", "--separate-git-dir", "../elsewhere")
    return folder


def linked_folder(folder: Path) -> Path:
    (folder / ".git").rename(folder.parent / "elsewhere")
    (folder / ".git").symlink_to("../elsewhere")
    return folder


def larger_hashes(folder: Path) -> Path:
    shutil.rmtree(folder / ".git")
    git(folder, "init", "-q", "--object-format=sha256")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.mark.parametrize(
    "change",
    [worktree, packed, detached, nested_branch, symbolic_branch, linked_head, moved, linked_folder, larger_hashes],
)
def test_a_repository_is_at_the_commit_that_git_says(folder: Path, change: Callable[[Path], Path]):
    place = change(folder)
    repository = open_repository(place)
    assert repository is not None
    assert repository.read_head() == git(place, "rev-parse", "HEAD")
    assert repository.objects.samefile(place / git(place, "rev-parse", "--git-path", "objects"))


def test_a_repository_without_a_commit_is_at_none(tmp_path):
    git(tmp_path, "init", "-q")
    repository = open_repository(tmp_path)
    assert repository is not None
    assert repository.read_head() == ""


def test_the_repository_around_a_folder_is_the_nearest(folder):
    inner = folder / "vendor" / "inner"
    (inner / "deep").mkdir(parents=True)
    git(inner, "init", "-q")
    tops = {place: find_repository(place).top for place in (folder, inner.parent, inner, inner / "deep")}
    assert tops == {folder: folder, inner.parent: folder, inner: inner, inner / "deep": inner}
    assert find_repository(folder.parent) is None


def spoil(*names: str) -> Callable[[Path], None]:
    return lambda folder: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in (folder / n for n in names)]


def put(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def replace_by(text: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / ".git").rename(folder / "real")
        (folder / ".git").write_text(text)

    return change


def link_head(target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / ".git/HEAD").unlink()
        (folder / ".git/HEAD").symlink_to(target)

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(spoil(f".git/{name}") for name in ("HEAD", "objects", "refs", "config", "description")),
        *(put(".git/HEAD", text) for text in ("", "hello", "ref: x", "ref:refs/heads/x", "ref:\trefs/y", "a" * 39)),
        *(put(".git/HEAD", text) for text in ("a" * 40, "A" * 64, "a" * 41 + "x", "ref: refs/../../../x")),
        *(put(".git/commondir", text) for text in ("..", "nowhere", ".\n", "../.git\r\n", "/")),
        *(
            replace_by(text)
            for text in ("gitdir: real", "gitdir: real\n", "gitdir:real", "gitdir: ", "gitdir: nowhere")
        ),
        *(replace_by(text) for text in ("", "x\ngitdir: real", "gitdir: ./real/../real\n\n", "GITDIR: real")),
        *(link_head(target) for target in ("refs/heads/none", "/etc/hostname", "config")),
    ],
)
def test_what_is_taken_for_a_repository_is_what_git_takes_for_one(folder: Path, change: Callable[[Path], object]):
    change(folder)
    asked = subprocess.run(
        ["git", "rev-parse", "--resolve-git-dir", str(folder / ".git")], capture_output=True, check=False
    )
    assert (open_repository(folder) is not None) == (asked.returncode == 0)
