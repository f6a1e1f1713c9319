"""What git knows of a folder; git is started nowhere else."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.errors import ProjectError

LIST = ("ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard", "--deduplicate")
# Untracked folders, those that hold nothing too; folders with tracked files in them are entered.
LIST_FOLDERS = ("ls-files", "-z", "--others", "--directory", "--exclude-standard")


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, in English; raises ProjectError where there is no git."""
    # A hook or an alias may have set GIT_DIR for its own repository; ours is the one around the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    try:
        return subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ProjectError(
            "git is not installed, and this is a git repository: git tells which of its files travel",
            "install git, then type it again",
        ) from error


def find_top(folder: Path) -> Path | None:
    """Return the top of the git repository around a folder; None where there is none. Raises ProjectError if git refuses."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
    answer = git(folder, "rev-parse", "--show-toplevel")
    if answer.returncode == 0:
        return Path(os.fsdecode(answer.stdout.removesuffix(b"\n")))
    if b"not a git repository" in answer.stderr:  # something else goes by the name .git
        return None
    raise refusal(answer)


def list_repository(top: Path) -> tuple[dict[str, bool], set[str]]:
    """Return git's view of a repository: each file that is tracked, or neither tracked nor ignored, with whether it is tracked.

    Then the folders that git cannot see, for there is no file in them. Repositories inside are entered, each with its own rules.
    """
    with ThreadPoolExecutor(1) as pool:
        untracked = pool.submit(git, top, *LIST_FOLDERS)
        answer = git(top, *LIST)
    if answer.returncode:
        raise refusal(answer)
    files: dict[str, bool] = {}
    folders = {name[:-1] for name in names_in(untracked.result().stdout) if name.endswith("/")}
    for entry in names_in(answer.stdout):
        tag, _, name = entry.partition(" ")
        path = top / name
        if path.is_dir() and not path.is_symlink():  # a submodule, or a repository inside
            inner_files, inner_folders = list_repository(path)
            files |= {f"{name.rstrip('/')}/{inner}": tracked for inner, tracked in inner_files.items()}
            folders |= {f"{name.rstrip('/')}/{inner}" for inner in inner_folders}
        else:
            files[name] = tag != "?"
    return files, {empty for folder in folders for empty in find_empty(top, folder)}


def find_empty(top: Path, folder: str) -> set[str]:
    """Return the folders without anything in them at `folder` and below."""
    return {
        os.path.relpath(parent, top) for parent, folders, files in os.walk(top / folder) if not folders and not files
    }


def names_in(listing: bytes) -> list[str]:
    """Return the names that git lists, separated by zeros."""
    return [os.fsdecode(name) for name in listing.split(b"\0") if name]


def refusal(answer: subprocess.CompletedProcess[bytes]) -> ProjectError:
    """Return the error that git's own words make."""
    return ProjectError(f"git: {answer.stderr.decode(errors='replace').strip()[:300]}", "git status")


def read_commit(root: Path) -> dict[str, str | bool]:
    """Return the git commit of a project and whether files differ from it; nothing where there is no commit."""
    if find_top(root) is None:
        return {}
    head = git(root, "rev-parse", "HEAD").stdout.decode().strip()
    if not re.fullmatch("[0-9a-f]{40,64}", head):
        return {}
    return {"commit": head, "changed": bool(git(root, "status", "--porcelain").stdout.strip())}


def read_changes(root: Path) -> bytes:
    """Return how tracked files differ from the commit, as a patch that git can apply; nothing outside a repository."""
    if find_top(root) is None:
        return b""
    return git(root, "diff", "--binary", "HEAD").stdout
