"""What travels and what does not, beyond what git says: secrets, caches, .gpujobignore and the project's own settings."""

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from infra.node.agent.caches import is_cache, lies_in_cache

RUNS = "runs"
IGNORE_FILE = ".gpujobignore"
# Never carried unless included by name: who has the node, or a copy of its disk, would have these too.
SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ed25519*",
    "id_ecdsa*",
    "id_dsa*",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    "kaggle.json",
    ".aws",
    ".ssh",
    ".gnupg",
)


def choose(
    root: Path, files: dict[str, bool], include: tuple[str, ...], exclude: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Return which files travel, and which were kept back for looking like secrets.

    `files` are git's, each with whether git tracks it. The project's .gpujobignore and `exclude` take some away, `include`
    adds others, both in the way of .gitignore.
    """
    ignored = match(files, (*read_ignore_file(root), *exclude))
    chosen = {name for name, tracked in files.items() if name not in ignored and (tracked or not is_left_out(name))}
    chosen |= set(find_included(root, include))
    named = {pattern.strip("/") for pattern in include if not set(pattern) & set("*?[!")}
    secret = {name for name in chosen if matches(name, SECRETS) and not is_named(name, named)}
    return sorted(chosen - secret), sorted(secret)


def read_ignore_file(root: Path) -> list[str]:
    """Return the lines of the project's .gpujobignore."""
    path = root / IGNORE_FILE
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def match(names: Iterable[str], patterns: tuple[str, ...]) -> set[str]:
    """Return those names that patterns in the way of .gitignore match."""
    if not patterns:
        return set()
    from pathspec import GitIgnoreSpec

    return set(GitIgnoreSpec.from_lines(patterns).match_files(names))


def find_included(root: Path, include: tuple[str, ...]) -> set[str]:
    """Return the files that `include` names, ignored by git or not."""
    return match(
        (name for start in {literal_start(pattern) for pattern in include} for name in walk(root, start)), include
    )


def literal_start(pattern: str) -> str:
    """Return the folder or file below which a pattern can match: the parts before the first one with a wildcard."""
    parts = pattern.strip("/").split("/")
    if len(parts) == 1 and not pattern.startswith("/") and not pattern.endswith("/"):
        return ""  # a mere name matches anywhere
    return "/".join(parts[: next((at for at, part in enumerate(parts) if set(part) & set("*?[!")), len(parts))])


def walk(root: Path, start: str) -> Iterator[str]:
    """Yield every file and link at `start` and below, but for what lies in git's own folders, in caches, and what came home."""
    if (root / start).is_file():
        yield start
    for parent, folders, files in os.walk(root / start):
        folders[:] = [name for name in folders if name not in (".git", RUNS) and not is_cache(name)]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (os.path.relpath(os.path.join(parent, name), root) for name in files + links)  # noqa: PTH118


def is_left_out(name: str) -> bool:
    """Tell whether a path is one of what was downloaded, or of what tools make again: not uploaded unless git tracks it."""
    return name.startswith(f"{RUNS}/") or lies_in_cache(name)


def is_named(name: str, named: set[str]) -> bool:
    """Tell whether somebody wrote this very path, or its last part, with no wildcard in it."""
    return name in named or PurePosixPath(name).name in named


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether any part of a path matches any of the patterns."""
    return any(map(compile_any(patterns).match, name.split("/")))


@cache
def compile_any(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all of these patterns: a project has thousands of names."""
    return re.compile("|".join(map(fnmatch.translate, patterns)))
