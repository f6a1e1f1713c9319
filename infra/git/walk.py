"""The files of a folder by the rules of its .gitignore files, where git is not installed."""

import os
from pathlib import Path

from infra.errors import ProjectError
from infra.git.listing import Listing
from infra.git.patterns import Pattern, is_ignored, parse

Rules = tuple[tuple[str, tuple[Pattern, ...]], ...]
"""The .gitignore files that hold in a folder, innermost first: the folder each lies in, and its patterns."""


def walk_folder(root: Path) -> Listing:
    """Return what of a folder is not ignored; raises ProjectError for a repository inside, or what cannot be read."""
    listing = Listing()
    waiting: list[tuple[str, Rules]] = [("", ())]
    while waiting:
        folder, rules = waiting.pop()
        entries = scan(root / folder)
        rules = add_rules(rules, folder, entries)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if decide(path, is_folder, rules):
                continue
            if not is_folder:
                listing.files[path] = False
            elif os.path.lexists(f"{entry.path}/.git"):
                raise ProjectError(
                    f"git is not installed; it is needed to list the repository in {path!r}", "install git, then rerun"
                )
            else:
                waiting.append((path, rules))
        if folder and not entries:
            listing.folders.add(folder)
    return listing


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, git's own folder excepted; raises ProjectError if it cannot be read."""
    try:
        return [entry for entry in os.scandir(folder) if entry.name.lower() != ".git"]
    except OSError as error:
        raise ProjectError(
            f"{str(folder)!r} cannot be read: {error.strerror}", "fix that, or add it to .gitignore"
        ) from error


def add_rules(rules: Rules, folder: str, entries: list[os.DirEntry[str]]) -> Rules:
    """Return the rules that hold in a folder with these entries."""
    own = next((entry for entry in entries if entry.name == ".gitignore" and not entry.is_dir()), None)
    if own is None:
        return rules
    if own.is_symlink():  # git reads none, and warns
        raise ProjectError(
            f"{own.path!r} is a symbolic link, which git does not follow", "replace it by a regular file"
        )
    try:
        return ((folder, parse(Path(own.path).read_bytes())), *rules)
    except OSError as error:
        raise ProjectError(f"{own.path!r} cannot be read: {error.strerror}", "fix that, then rerun") from error


def decide(path: str, is_folder: bool, rules: Rules) -> bool:
    """Tell whether a path is ignored: by the innermost file that has a pattern for it. The folders above it are not."""
    for folder, patterns in rules:
        inner = path[len(folder) + 1 :] if folder else path
        ignored = is_ignored(inner, is_folder, patterns)
        if ignored is not None:
            return ignored
    return False
