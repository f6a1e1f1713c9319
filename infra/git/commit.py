"""A commit, read without the configuration of its repository: by git in an empty repository that borrows the objects."""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.git.command import empty_repository, git, names_in, refusal

LINK, EXECUTABLE = "120000", "100755"
# How lines end in the files and in the commits, a matter of each person's settings: all that is taken over from them.
LINE_ENDS = {"core.autocrlf": ("true", "false", "input"), "core.eol": ("lf", "crlf", "native")}


@dataclass(frozen=True)
class Entry:
    """A file, link or submodule of a commit."""

    mode: str
    object: str


@dataclass(frozen=True)
class Commit:
    """The commit that a repository is at."""

    top: Path
    name: str
    options: tuple[str, ...]

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Return what git says of the commit; raises ProjectError if it refuses, as where objects are missing."""
        folder = self.options[0].partition("=")[2]
        # Its own folder for a home: no configuration of the person's either, which may name filters, too.
        quiet = {"HOME": folder, "XDG_CONFIG_HOME": folder, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
        answer = git(self.top, *self.options, *arguments, stdin=stdin, environment=quiet)
        if answer.returncode:
            raise refusal(self.top, answer)
        return answer.stdout

    def list_entries(self) -> dict[str, Entry]:
        """Return what the commit holds, by path."""
        entries = {}
        for line in names_in(self.ask("ls-tree", "-r", "-z", "--full-tree", self.name)):
            about, _, path = line.partition("\t")
            mode, _, name = about.split(" ")
            entries[path] = Entry(mode, name)
        return entries

    def sizes_of(self, objects: Sequence[str]) -> dict[str, int]:
        """Return the size of each object in bytes; one that a partial clone lacks counts as endless."""
        said = self.ask("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=as_lines(objects)).decode()
        pairs = (line.split(" ") for line in said.splitlines())
        return {name: int(size) if size.isdecimal() else sys.maxsize for name, size in pairs}

    def read_object(self, name: str) -> bytes:
        """Return what a file of the commit holds."""
        return self.ask("cat-file", "blob", name)

    def find_filtered(self, paths: Sequence[str]) -> dict[str, str]:
        """Return those of the paths whose content a program changes on its way into a commit, with the filter's name."""
        words = names_in_order(self.ask("check-attr", "-z", "--stdin", "filter", stdin=as_zeros(paths)))
        answers = zip(words[::3], words[2::3], strict=True)
        return {path: value for path, value in answers if value not in ("unspecified", "unset", "set", "")}

    def make_patch(self, changed: Sequence[str], deleted: Sequence[str], prefix: str) -> bytes:
        """Return how these files differ from the commit as they are now, as a patch that `git apply` takes.

        It is the same under any configuration. The paths in it begin with `prefix`.
        """
        self.ask("read-tree", self.name)
        self.ask("update-index", "-z", "--force-remove", "--stdin", stdin=as_zeros(deleted))
        self.ask("update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin=as_zeros(changed))
        return self.ask(
            *("diff-index", "--cached", "--patch", "--binary", "--full-index", "--no-renames", "--no-color"),
            *(
                "--no-ext-diff",
                "--no-textconv",
                f"--src-prefix=a/{prefix}",
                f"--dst-prefix=b/{prefix}",
                self.name,
                "--",
            ),
        )


@contextmanager
def open_commit(top: Path) -> Iterator[Commit | None]:
    """Yield the commit that a repository is at; None where it has none yet."""
    answer = git(top, "--work-tree=.", "rev-parse", "HEAD", "--git-path", "objects")
    name, _, objects = os.fsdecode(answer.stdout).removesuffix("\n").partition("\n")
    if answer.returncode or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", name):
        yield None
        return
    with empty_repository(name, top / objects) as options:
        settings = (f"{key}={value}" for key, value in read_line_ends(top).items())
        yield Commit(top, name, (*options, *(word for setting in settings for word in ("-c", setting))))


def read_line_ends(top: Path) -> Mapping[str, str]:
    """Return what the person's settings and the repository's say of the ends of lines."""
    answer = git(top, "--work-tree=.", "config", "-z", "--get-regexp", r"^core\.(autocrlf|eol)$")
    found = dict(line.partition("\n")[::2] for line in names_in(answer.stdout))
    return {key: found[key].lower() for key, known in LINE_ENDS.items() if found.get(key, "").lower() in known}


def read_pointer(content: bytes) -> str:
    """Return the SHA-256 that a pointer of Git LFS names, which a commit holds in place of a large file; "" for what is none."""
    found = re.match(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n", content)
    return found[1].decode() if found else ""


def as_zeros(names: Sequence[str]) -> bytes:
    """Return names as git reads them with -z."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def as_lines(objects: Sequence[str]) -> bytes:
    """Return the names of objects, one on a line."""
    return "".join(f"{name}\n" for name in objects).encode()


def names_in_order(listing: bytes) -> list[str]:
    """Return what git lists, separated by zeros, empty words included."""
    return [os.fsdecode(word) for word in listing.split(b"\0")[:-1]]
