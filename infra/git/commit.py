"""Read a commit without its repository's configuration, in an empty one that borrows the objects."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infra.base.folders import read_plain
from infra.git.command import empty_repository, git, names_in, refusal
from infra.git.index import Entry, format_index
from infra.git.repository import Repository, read_if_any

LINK, EXECUTABLE = "120000", "100755"
# Line endings in files and commits, which depend on the user's settings: the only settings that are honoured.
LINE_ENDS = {"core.autocrlf": ("true", "false", "input"), "core.eol": ("lf", "crlf", "native")}


@dataclass(frozen=True)
class Commit:
    """The commit that a repository is at."""

    top: Path
    name: str
    options: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The empty repository through which it is read."""
        return Path(self.options[0].partition("=")[2])

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Return git's output; raises ProjectError if it fails, for example for missing objects."""
        # The empty repository as HOME: the user's configuration is not read either, which may name filters, too.
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        quiet = {**home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
        answer = git(self.top, *self.options, *arguments, stdin=stdin, environment=quiet)
        if answer.returncode:
            raise refusal(self.top, answer)
        return answer.stdout

    def list_entries(self) -> dict[str, Entry]:
        """Return the commit's entries by path; a file missing from a partial clone has infinite size."""
        entries = {}
        for line in names_in(self.ask("ls-tree", "-r", "-z", "--long", "--full-tree", self.name)):
            about, _, path = line.partition("\t")
            mode, kind, name, size = about.split()
            entries[path] = Entry(mode, name, int(size) if size.isdecimal() else sys.maxsize if kind == "blob" else 0)
        return entries

    def read_objects(self, names: Collection[str]) -> dict[str, bytes]:
        """Return the contents of files by object name; missing objects are left out."""
        answer = self.ask("cat-file", "--batch", stdin=as_lines(names)) if names else b""
        contents = {}
        while answer:
            head, _, answer = answer.partition(b"\n")
            name, _, size = head.decode().rpartition(" ")
            if size.isdecimal():
                contents[name.partition(" ")[0]], answer = answer[: int(size)], answer[int(size) + 1 :]
        return contents

    def find_filtered(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the paths whose content a filter changes for the commit, with the filter's name."""
        if not self.names_filters(paths):
            return {}
        words = names_in_order(self.ask("check-attr", "-z", "--stdin", "filter", stdin=as_zeros(paths)))
        answers = zip(words[::3], words[2::3], strict=True)
        return {path: value for path, value in answers if value not in ("unspecified", "unset", "set", "")}

    def names_filters(self, paths: Sequence[str]) -> bool:
        """Return whether an attributes file that applies to any of the paths names a filter."""
        folders = {parent for path in paths for parent in PurePosixPath(path).parents}
        return any(b"filter" in read_if_any(self.top / folder / ".gitattributes") for folder in folders)

    def make_patch(
        self, committed: Mapping[str, Entry], changed: Collection[str], deleted: Collection[str], prefix: str
    ) -> bytes:
        """Return the changes of these files since the commit, as a patch for `git apply`.

        It is the same under any configuration. The paths in it begin with `prefix`.
        """
        (self.folder / "index").write_bytes(format_index(committed, changed, deleted))
        return self.ask(
            *self.read_line_ends(changed),
            *("diff-index", "--patch", "--binary", "--full-index", "--no-renames", "--no-color"),
            *("--no-ext-diff", "--no-textconv", f"--src-prefix=a/{prefix}", f"--dst-prefix=b/{prefix}"),
            *(self.name, "--"),
        )

    def read_line_ends(self, changed: Collection[str]) -> list[str]:
        """Return the user's and the repository's settings of line endings, as options.

        They matter only for files with CRLF: `crlf_to_git` in https://github.com/git/git/blob/master/convert.c.
        """
        if not any(holds_crlf(self.top / path) for path in changed):
            return []
        answer = git(self.top, "--work-tree=.", "config", "-z", "--get-regexp", r"^core\.(autocrlf|eol)$")
        said = dict(line.partition("\n")[::2] for line in names_in(answer.stdout))
        settings = ((key, said.get(key, "").lower(), known) for key, known in LINE_ENDS.items())
        return [word for key, value, known in settings if value in known for word in ("-c", f"{key}={value}")]


@contextmanager
def open_commit(repository: Repository) -> Iterator[Commit | None]:
    """Yield the commit that a repository is at; None if it has none yet."""
    name = repository.read_head()
    if not name:
        yield None
        return
    with empty_repository(name, repository.objects) as options:
        yield Commit(repository.top, name, options)


def holds_crlf(path: Path) -> bool:
    """Return whether a file contains CRLF."""
    try:
        return not path.is_symlink() and b"\r\n" in read_plain(path)
    except OSError:
        return False


def as_zeros(names: Sequence[str]) -> bytes:
    """Return names NUL-separated, as git reads them with -z."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def as_lines(objects: Collection[str]) -> bytes:
    """Return the names of objects, one per line."""
    return "".join(f"{name}\n" for name in objects).encode()


def names_in_order(listing: bytes) -> list[str]:
    """Return NUL-separated fields, including empty ones."""
    return [os.fsdecode(word) for word in listing.split(b"\0")[:-1]]
