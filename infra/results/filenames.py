"""File names from a job: which of them are never written locally, and which are changed first.

A name can do harm without the user starting a program. A prompt that shows the branch runs git, which runs what the current
repository's configuration names; a shell, an editor or a test runner executes files of certain names as soon as their folder is
entered or opened.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache
from itertools import count
from pathlib import PurePosixPath

from infra.errors import NodeError

SUFFIX = ".from-node"
# Each contains a configuration that its tool executes (hooks, extensions, filters), in any folder below it.
REPOSITORIES = (".git", ".hg", ".svn", ".jj", ".sl", ".bzr", ".pijul", "_darcs")
# On NTFS the short name of `.git` is `git~1`, as in git's own is_ntfs_dotgit:
# https://github.com/git/git/blob/v2.45.0/path.c
SHORT = re.compile(rf"({'|'.join(name.lstrip('.') for name in REPOSITORIES)})~[0-9]+")
# By a shell that enters the folder: direnv, autoenv, mise, asdf.
RUN_BY_SHELL = ".envrc .env .env.leave .autoenv* .mise* mise.toml mise.*.toml .rtx*.toml .tool-versions"
# By rustc or cargo, which prompts run for their version: a toolchain may be any path.
RUN_BY_RUST = "rust-toolchain rust-toolchain.toml"
# By an editor or debugger that opens the folder or a file in it.
RUN_BY_EDITOR = """
    .vscode .idea .devcontainer .devcontainer.json *.code-workspace .zed .fleet .cursor .windsurf .claude
    .mcp.json .exrc .vimrc .nvimrc .nvim.lua _vimrc .lvimrc .dir-locals*.el .gdbinit .lldbinit .pdbrc*
    .eslintrc* eslint.config.* .prettierrc* prettier.config.* .stylelintrc* pylintrc .pylintrc
"""
# By pytest, run at the top of the project, which searches every folder below.
RUN_BY_PYTEST = "conftest.py test_*.py *_test.py"
EXECUTED = f"{RUN_BY_SHELL} {RUN_BY_RUST} {RUN_BY_EDITOR} {RUN_BY_PYTEST}".split()
EXECUTABLE = re.compile("|".join(map(translate, EXECUTED)))
WHY_REPOSITORY = "tools execute what a repository's configuration names"
WHY_EXECUTED = "a shell, an editor or another tool may execute a file of that name"
WHY_CONTROL = "its name contains control characters"
WHY_HEAD = "a folder with a HEAD file can be a git repository"
MANY = 1 << 15  # names that are remembered: a fetch looks at each several times
SHORT_BYTES = 143  # the limit of eCryptfs; all others allow more
BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@lru_cache(maxsize=MANY)
def read_path(path: str) -> PurePosixPath:
    """Return a path sent by a node; raises NodeError for one outside its folder."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or not is_encodable(path):
        raise NodeError(f"the node sent a path outside the results folder: {path!r}")
    return pure


def is_encodable(name: str) -> bool:
    """Return whether a file system can store a name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def find_repository(path: PurePosixPath) -> PurePosixPath | None:
    """Return the part of a path up to a repository's folder or file; None if it is in none."""
    for depth, part in enumerate(path.parts, 1):
        if any(folded in REPOSITORIES or SHORT.fullmatch(folded) for folded in map(fold, part.split("\\"))):
            return PurePosixPath(*path.parts[:depth])
    return None


@lru_cache(maxsize=MANY)
def make_inert(path: PurePosixPath) -> tuple[PurePosixPath, str]:
    """Return a path that nothing executes, and why it differs from the job's; "" if it does not."""
    parts = [part if part.isascii() and part.isprintable() else escape(part) for part in path.parts]
    whys = ["" if inert == part else WHY_CONTROL for inert, part in zip(parts, path.parts, strict=True)]
    for at, part in enumerate(path.parts):
        if EXECUTABLE.match(fold(part)):
            parts[at], whys[at] = parts[at] + SUFFIX, WHY_EXECUTED
    if fold(path.name) == "head":
        parts[-1], whys[-1] = parts[-1] + SUFFIX, WHY_HEAD
    why = next(filter(None, whys), "")
    return PurePosixPath(*parts) if why else path, why


@lru_cache(maxsize=MANY)
def fold(name: str) -> str:
    """Return a name as the most lenient file system compares it.

    HFS+ ignores invisible characters and, like APFS, case; NTFS ignores trailing dots and spaces, and what follows a colon.
    git's verify_path handles them, too: https://github.com/git/git/blob/v2.45.0/read-cache.c
    """
    visible = (letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return "".join(visible).casefold().partition(":")[0].rstrip(". ")


def escape(name: str) -> str:
    """Return a name with control characters escaped, as in %1B."""
    return "".join(f"%{ord(letter):02X}" if steers(letter) else letter for letter in name)


def steers(letter: str) -> bool:
    """Return whether a terminal obeys a character instead of showing it."""
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp") or letter in BIDIRECTIONAL


def make_portable(path: PurePosixPath) -> PurePosixPath:
    """Return a path that every file system accepts: ASCII only, and no part too long."""
    return PurePosixPath(*map(shorten, path.parts))


def shorten(name: str) -> str:
    """Return a name in ASCII, with a hash of the original if it is not ASCII or too long."""
    data = name.encode("utf-8", "surrogateescape")
    if name.isascii() and len(data) <= SHORT_BYTES:
        return name
    plain = re.sub(rb"[^\x20-\x7e]", b"_", data)[:100].decode()
    return f"{plain}.{hashlib.sha256(data).hexdigest()[:12]}{SUFFIX}"


def list_candidates(name: str) -> Iterator[str]:
    """Yield the name, then alternatives for when it is in use."""
    yield name
    yield f"{name}{SUFFIX}"
    yield from (f"{name}{SUFFIX}.{number}" for number in count(2))
