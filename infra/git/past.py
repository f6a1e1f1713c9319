"""Earlier code: a commit with a patch, read in an empty repository, so that no filter runs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ProjectError
from infra.git.command import empty_repository, git, names_in
from infra.git.commit import Commit, as_zeros
from infra.git.listing import SUBMODULE
from infra.git.repository import Repository

NO_FILTER = (b"unspecified", b"unset", b"set", b"")


@dataclass(frozen=True)
class Past:
    """Code as a record describes it."""

    commit: str
    patch: bytes = b""
    absent: tuple[str, ...] = ()
    """Files of the commit that are not part of it."""


@dataclass(frozen=True)
class Workshop:
    """An empty repository in an empty folder that borrows the objects of a project's."""

    commit: Commit

    def make_tree(self, past: Past) -> str:
        """Return git's name for the files of some code, which the index then has; raises ProjectError."""
        ask = self.commit.ask
        answer = git(self.commit.top, *self.commit.options, "cat-file", "-e", f"{past.commit}^{{tree}}")
        if answer.returncode:
            raise ProjectError(f"commit {past.commit[:12]} is not in this repository", "fetch it with git, then rerun")
        ask("read-tree", past.commit)
        if past.patch:
            try:
                ask("apply", "--cached", "--whitespace=nowarn", "-", stdin=past.patch)
            except ProjectError as error:
                raise ProjectError(f"its changes do not apply to commit {past.commit[:12]}") from error
        if past.absent:
            ask("update-index", "--force-remove", "-z", "--stdin", stdin=as_zeros(past.absent))
        return os.fsdecode(ask("write-tree")).strip()

    def compare(self, before: str, after: str) -> bytes:
        """Return the difference between two trees as a patch."""
        shown = "--patch", "--find-renames", "--no-color", "--no-ext-diff", "--no-textconv"
        return self.commit.ask("diff-tree", "-r", *shown, before, after)

    def check_out(self) -> tuple[str, ...]:
        """Write the files in the index to this folder and return their paths.

        Raises ProjectError for a submodule, or a file of which the commit has only a reference, such as Git LFS's.
        """
        entries = [line.partition("\t") for line in names_in(self.commit.ask("ls-files", "-z", "--stage"))]
        paths = tuple(path for _, _, path in entries)
        submodule = next((path for about, _, path in entries if about.startswith(SUBMODULE)), None)
        if submodule is not None:
            raise ProjectError(f"'{submodule}' is a submodule, whose code is not in the commit")
        filtered = self.find_filtered(paths)
        if filtered:
            raise ProjectError(f"the commit does not have the content of '{filtered}': a filter such as Git LFS has it")
        self.commit.ask("checkout-index", "--all", "--force")
        return paths

    def make_repository(self, objects: Path) -> None:
        """Make this folder a repository that is at the commit, for recording where its code came from."""
        own = self.commit.top / ".git"
        for name in ("refs", "objects/info"):
            (own / name).mkdir(parents=True)
        (own / "HEAD").write_text(f"{self.commit.name}\n")
        (own / "config").write_bytes((self.commit.folder / "config").read_bytes())
        (own / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")

    def find_filtered(self, paths: Sequence[str]) -> str:
        """Return the first file whose content a filter replaces in the commit; "" if there is none."""
        if not any(path.rpartition("/")[2] == ".gitattributes" for path in paths):
            return ""
        words = self.commit.ask("check-attr", "--cached", "-z", "--stdin", "filter", stdin=as_zeros(paths))
        fields = words.split(b"\0")[:-1]
        named = (path for path, value in zip(fields[::3], fields[2::3], strict=True) if value not in NO_FILTER)
        return os.fsdecode(next(named, b""))


@contextmanager
def open_workshop(repository: Repository, folder: Path, commit: str) -> Iterator[Workshop]:
    """Yield a workshop in an empty folder; `commit` determines the kind of hashes."""
    with empty_repository(commit, repository.objects.absolute()) as options:
        yield Workshop(Commit(folder, commit, options))
