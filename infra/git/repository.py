"""Find a repository by its files, as git does, but fast enough for every command.

The files: https://git-scm.com/docs/gitrepository-layout
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from infra.base.folders import read_plain
from infra.git.command import git

HEAD = re.compile(r"ref:\s*refs/|[0-9a-fA-F]{40}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Repository:
    """A repository with a working tree."""

    top: Path
    """The folder that holds its files."""
    private: Path
    """The git folder: `.git`, or the one that a file of that name points to."""
    common: Path
    """The folder of objects and branches, shared by the worktrees of one repository."""

    @property
    def objects(self) -> Path:
        """The folder of its objects."""
        return self.common / "objects"

    @property
    def excluded(self) -> bytes:
        """The patterns that it ignores in addition to its .gitignore files."""
        return read_if_any(self.common / "info" / "exclude")

    def read_head(self) -> str:
        """Return the name of the commit that it is at; "" if it has none yet."""
        name = read_line(self.private / "HEAD")
        if name.startswith("ref:"):
            branch = name.removeprefix("ref:").strip()
            name = read_line(self.common / branch) or self.find_packed(branch)
        return name if COMMIT.fullmatch(name) else self.ask_head()

    def find_packed(self, branch: str) -> str:
        """Return the commit of a packed branch; "" if there is none."""
        ending = b" " + os.fsencode(branch)
        lines = read_if_any(self.common / "packed-refs").splitlines()
        return next((os.fsdecode(line.removesuffix(ending)) for line in lines if line.endswith(ending)), "")

    def ask_head(self) -> str:
        """Ask git for the commit, for other formats of branches; return "" if there is none."""
        answer = git(self.top, "--work-tree=.", "rev-parse", "--verify", "--quiet", "HEAD")
        name = os.fsdecode(answer.stdout).strip()
        return name if answer.returncode == 0 and COMMIT.fullmatch(name) else ""


def find_repository(folder: Path) -> Repository | None:
    """Return the repository around a folder; None if there is none."""
    return next(filter(None, map(open_repository, (folder, *folder.parents))), None)


def open_repository(top: Path) -> Repository | None:
    """Return the repository whose top is this folder; None if there is none.

    Only its own .git counts: git would also search the folders above, and trust the configuration about where the top is.
    """
    private = top / ".git"
    if private.is_file():
        before, _, place = read_line(private).partition("gitdir: ")
        if before or not place:
            return None
        private = top / place
    common = private / read_line(private / "commondir")
    return Repository(top, private, common) if is_git_folder(private, common) else None


def is_git_folder(private: Path, common: Path) -> bool:
    """Return whether git would accept a folder as a git folder.

    See `is_git_directory` in https://github.com/git/git/blob/master/setup.c.
    """
    head = private / "HEAD"
    said = f"ref: {head.readlink()}" if head.is_symlink() else read_line(head)
    return HEAD.match(said) is not None and all(os.access(common / name, os.X_OK) for name in ("objects", "refs"))


def read_line(path: Path) -> str:
    """Return the only line of a file of git's; "" if it cannot be read."""
    return os.fsdecode(read_if_any(path)).rstrip("\r\n")


def read_if_any(path: Path) -> bytes:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return read_plain(path)
    except (OSError, ValueError):  # a path with a NUL in it
        return b""
