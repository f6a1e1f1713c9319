"""List the files of a folder that git would commit, in a repository or outside one."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ProjectError
from infra.git.command import check_ignored, empty_repository, git, names_in, refusal
from infra.git.repository import Repository, open_repository
from infra.git.walk import Skip, decide, find_empty, is_git, walk

# With -t a letter precedes each entry, "?" for an untracked one; with --stage, tracked entries have their mode.
LIST = ("ls-files", "-z", "-t", "--stage", "--cached", "--others", "--exclude-standard")
# git omits files that it cannot read, or treats them as not ignored, with only a warning.
UNREADABLE = re.compile(
    rb"^warning: ((?:could not open directory|unable to access|ignoring excessively) .*)$", re.MULTILINE
)
OWN = ("--work-tree=.",)  # whatever core.worktree says

SUBMODULE = "160000"


@dataclass(frozen=True)
class Listing:
    """What git would commit of a folder and the repositories inside it; paths are relative to the folder."""

    files: dict[str, bool] = field(default_factory=dict)
    """Files and links, with whether git tracks each."""
    folders: set[str] = field(default_factory=set)
    """Empty folders."""
    repositories: set[str] = field(default_factory=set)
    """The top folder of each repository, "" for the folder itself."""
    absent: set[str] = field(default_factory=set)
    """Submodules that are not checked out; "" for the folder itself."""

    def add(self, folder: str, inner: "Listing") -> None:
        """Add the listing of an inner repository."""
        self.files.update((f"{folder}/{name}", tracked) for name, tracked in inner.files.items())
        self.folders.update(f"{folder}/{name}" for name in inner.folders)
        self.repositories.update(f"{folder}/{name}".rstrip("/") for name in inner.repositories)
        self.absent.update(f"{folder}/{name}".rstrip("/") for name in inner.absent)


def list_folder(folder: Path, skip: Skip) -> Listing:
    """Return what git would commit if a folder were a repository; see `list_repository`."""
    with empty_repository() as options:
        return list_by_git(folder, options, skip)


def list_repository(repository: Repository, skip: Skip) -> Listing:
    """Return what git would commit of a repository and those inside it, except where `skip` returns True.

    Raises ProjectError for what cannot be read: otherwise files could be missing, or ignored ones included.
    """
    listing = list_by_git(repository.top, OWN, skip, repository.excluded)
    listing.repositories.add("")
    return listing


def list_by_git(folder: Path, options: tuple[str, ...], skip: Skip, excluded: bytes = b"") -> Listing:
    """Return what git would commit of a folder, with the repository given by the options."""
    listing, inside = Listing(), set()
    for entry in ask(folder, *options, *LIST):
        tag, _, rest = entry.partition(" ")
        mode, name = ("", rest) if tag == "?" else (rest[: len(SUBMODULE)], rest.partition("\t")[2])
        if not is_inside(name.removesuffix("/")):
            raise ProjectError(
                f"the git index of {str(folder)!r} lists {name!r}, which is outside it", "clone the repository again"
            )
        if mode == SUBMODULE or name.endswith("/"):  # an inner repository
            inside.add(name.removesuffix("/"))
        else:
            listing.files[name] = tag != "?"
    for name in inside:
        if not skip(folder / name):
            listing.add(name, list_inside(folder / name, skip))
    # Starts git only if there are such folders; only git knows the patterns in the user's settings.
    empty = find_empty(folder, skip, excluded) - inside
    listing.folders.update(empty - check_ignored(folder, options, sorted(empty)))
    return listing


def list_inside(folder: Path, skip: Skip) -> Listing:
    """Return what git would commit of an inner repository, which need not be checked out."""
    repository = None if folder.is_symlink() else open_repository(folder)
    return list_repository(repository, skip) if repository else Listing(absent={""})


def list_without_git(root: Path) -> Listing:
    """Return what git would commit if a folder were a repository, by our reading of its .gitignore files.

    Raises ProjectError for an inner repository, or what cannot be read.
    """
    listing = Listing()
    for folder, entries, rules in walk(root, lambda _: False):
        if folder and any(map(is_git, entries)):
            raise ProjectError(
                f"git is not installed; it is needed to list the repository in {folder!r}", "install git, then rerun"
            )
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not (entry.is_dir(follow_symlinks=False) or is_git(entry) or decide(path, False, rules)):
                listing.files[path] = False
        if folder and not entries:
            listing.folders.add(folder)
    return listing


def ask(folder: Path, *arguments: str) -> list[str]:
    """Return the names that git lists; raises ProjectError if it fails or cannot read all of the folder."""
    answer = git(folder, *arguments)
    if answer.returncode:
        raise refusal(folder, answer)
    if warning := UNREADABLE.search(answer.stderr):
        said = warning[1].decode(errors="replace")
        raise ProjectError(f"cannot read {str(folder)!r}: {said}", "fix it, or add it to .gitignore")
    return names_in(answer.stdout)


def is_inside(name: str) -> bool:
    """Return whether a relative path stays inside its folder and outside .git."""
    parts = name.split("/")
    return "\0" not in name and not any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
