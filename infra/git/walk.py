"""Walk the folders of a project that its .gitignore files do not ignore, without git."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.errors import ProjectError
from infra.git.patterns import Pattern, is_ignored, parse

Rules = tuple[tuple[str, tuple[Pattern, ...]], ...]
"""The .gitignore files that apply to a folder, innermost first: the folder of each, and its patterns."""
Skip = Callable[[Path], bool]


def walk(root: Path, skip: Skip, rules: Rules = ()) -> Iterator[tuple[str, list[os.DirEntry[str]], Rules]]:
    """Yield each folder that is not ignored, "" for `root`, with its entries and the rules that apply.

    Clear the entries to skip its subfolders, as with os.walk. Raises ProjectError for what cannot be read.
    """
    waiting: list[tuple[str, Rules]] = [("", rules)]
    while waiting:
        folder, above = waiting.pop()
        entries = scan(root / folder)
        if entries is None:
            continue
        inner = add_rules(above, folder, entries)
        yield folder, entries, inner
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False) and not is_git(entry)
            if is_folder and not decide(path, True, inner) and not skip(root / path):
                waiting.append((path, inner))


def find_empty(root: Path, skip: Skip, excluded: bytes = b"") -> set[str]:
    """Return the empty folders, except those ignored by .gitignore files or `excluded`.

    Inner repositories and unreadable folders are skipped: git itself decides whether those are errors.
    """

    def skip_shut(folder: Path) -> bool:
        return skip(folder) or not os.access(folder, os.R_OK | os.X_OK)

    empty = set()
    for folder, entries, _ in walk(root, skip_shut, (("", parse(excluded)),)):
        if folder and any(map(is_git, entries)):
            entries.clear()
        elif folder and not entries:
            empty.add(folder)
    return empty


def is_git(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a git folder."""
    return entry.name.lower() == ".git"


def scan(folder: Path) -> list[os.DirEntry[str]] | None:
    """Return a folder's entries; None if it was just removed. Raises ProjectError if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ProjectError(
            f"cannot read {str(folder)!r}: {error.strerror}", "fix it, or add it to .gitignore"
        ) from error


def add_rules(rules: Rules, folder: str, entries: list[os.DirEntry[str]]) -> Rules:
    """Return the rules that apply to a folder with these entries."""
    own = next((entry for entry in entries if entry.name == ".gitignore" and not entry.is_dir()), None)
    if own is None:
        return rules
    if own.is_symlink():  # git ignores it, and warns
        raise ProjectError(
            f"{own.path!r} is a symbolic link, which git does not follow", "replace it with a regular file"
        )
    try:
        return ((folder, parse(Path(own.path).read_bytes())), *rules)
    except FileNotFoundError:  # it was just removed
        return rules
    except OSError as error:
        raise ProjectError(f"cannot read {own.path!r}: {error.strerror}", "fix it, then rerun") from error


def decide(path: str, is_folder: bool, rules: Rules) -> bool:
    """Return whether a path, whose folders are not ignored, is ignored by the innermost matching file."""
    for folder, patterns in rules:
        inner = path[len(folder) + 1 :] if folder else path
        ignored = is_ignored(inner, is_folder, patterns)
        if ignored is not None:
            return ignored
    return False
