"""Which files of a folder git would commit, in a repository and outside of one."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ProjectError
from infra.git.command import check_ignored, empty_repository, git, is_top, names_in, refusal
from infra.node.agent import trees

# With -t a letter before each entry, "?" for one that is not tracked, and with --stage the mode of each that is.
LIST = ("ls-files", "-z", "-t", "--stage", "--cached", "--others", "--exclude-standard")
# Untracked folders, those that hold nothing too; folders with tracked files in them are entered.
LIST_FOLDERS = ("ls-files", "-z", "--others", "--directory", "--exclude-standard")
# What git could not look into it leaves out, or does not take for ignored, with a mere warning.
UNREADABLE = re.compile(
    rb"^warning: ((?:could not open directory|unable to access|ignoring excessively) .*)$", re.MULTILINE
)
OWN = ("--work-tree=.",)  # whatever core.worktree says

SUBMODULE = "160000"

Skip = Callable[[Path], bool]


@dataclass(frozen=True)
class Listing:
    """What git would commit of a folder and of the repositories inside it; every path is relative to the folder."""

    files: dict[str, bool] = field(default_factory=dict)
    """Each file and link, with whether git tracks it."""
    folders: set[str] = field(default_factory=set)
    """Folders without anything in them."""
    repositories: set[str] = field(default_factory=set)
    """The top folder of each repository, "" for the folder itself."""
    absent: set[str] = field(default_factory=set)
    """Submodules that are not checked out; "" for the folder itself."""

    def add(self, folder: str, inner: "Listing") -> None:
        """Add what a repository inside holds."""
        self.files.update((f"{folder}/{name}", tracked) for name, tracked in inner.files.items())
        self.folders.update(f"{folder}/{name}" for name in inner.folders)
        self.repositories.update(f"{folder}/{name}".rstrip("/") for name in inner.repositories)
        self.absent.update(f"{folder}/{name}".rstrip("/") for name in inner.absent)


def list_folder(folder: Path, skip: Skip) -> Listing:
    """Return what git would commit of a folder that is no repository, were it one; see `list_repository`."""
    with empty_repository() as options:
        return list_by_git(folder, options, skip)


def list_repository(top: Path, skip: Skip) -> Listing:
    """Return what git would commit of a repository, and of those inside by their own rules, except where `skip` says to.

    Raises ProjectError for what cannot be read: a file may be missing then, or not known to be ignored.
    """
    listing = list_by_git(top, OWN, skip)
    listing.repositories.add("")
    return listing


def list_by_git(folder: Path, options: tuple[str, ...], skip: Skip) -> Listing:
    """Return what git would commit of a folder, by the repository that the options name."""
    with ThreadPoolExecutor(1) as pool:
        untracked = pool.submit(ask, folder, *options, *LIST_FOLDERS)
        entries = ask(folder, *options, *LIST)
    listing = Listing()
    for entry in entries:
        tag, _, rest = entry.partition(" ")
        mode, name = ("", rest) if tag == "?" else (rest[: len(SUBMODULE)], rest.partition("\t")[2])
        if not is_inside(name.removesuffix("/")):
            raise ProjectError(
                f"the git index of {str(folder)!r} lists {name!r}, outside of it", "clone the repository anew"
            )
        if mode == SUBMODULE or name.endswith("/"):  # a repository inside
            name = name.removesuffix("/")
            if not skip(folder / name):
                listing.add(name, list_inside(folder / name, skip))
        else:
            listing.files[name] = tag != "?"
    folders = [name[:-1] for name in untracked.result() if name.endswith("/")]
    empty = {inner for name in folders if not skip(folder / name) for inner in find_empty(folder, name)}
    listing.folders.update(empty - check_ignored(folder, options, sorted(empty)))
    return listing


def list_inside(folder: Path, skip: Skip) -> Listing:
    """Return what git would commit of a repository inside another, which need not be checked out."""
    if folder.is_symlink() or not is_top(folder):
        return Listing(absent={""})
    return list_repository(folder, skip)


def ask(folder: Path, *arguments: str) -> list[str]:
    """Return the names that git lists; raises ProjectError where it refuses, or could not read all of the folder."""
    answer = git(folder, *arguments)
    if answer.returncode:
        raise refusal(folder, answer)
    if warning := UNREADABLE.search(answer.stderr):
        said = warning[1].decode(errors="replace")
        raise ProjectError(f"{str(folder)!r} cannot be read: {said}", "fix that, or add it to .gitignore")
    return names_in(answer.stdout)


def is_inside(name: str) -> bool:
    """Tell whether a relative path stays inside the folder it starts from, and out of git's own folders."""
    parts = name.split("/")
    return "\0" not in name and not any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)


def find_empty(top: Path, folder: str) -> set[str]:
    """Return the folders without anything in them at `folder` and below, except in repositories of their own."""
    empty: set[str] = set()
    for parent, folders, files in trees.walk(top / folder):
        if any(name.lower() == ".git" for name in folders + files):
            folders.clear()
        elif not folders and not files:
            empty.add(os.path.relpath(parent, top))
    return empty
