"""The files of a folder that is no git repository, by the rules of its .gitignore files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from infra.git import list_repository

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

Rules = tuple[tuple[str, tuple["GitIgnoreSpecPattern", ...]], ...]
"""The .gitignore files that hold in a folder, innermost first: the folder each lies in, and its patterns, the last one first."""


def list_folder(root: Path) -> tuple[dict[str, bool], set[str]]:
    """Return what of a folder is not ignored: its files, none of which git tracks, and its folders without anything in them.

    A git repository inside is listed by git.
    """
    files: dict[str, bool] = {}
    empty: set[str] = set()
    waiting: list[tuple[str, Rules]] = [("", ())]
    while waiting:
        folder, rules = waiting.pop()
        entries = [entry for entry in os.scandir(root / folder) if entry.name != ".git"]
        rules = add_rules(rules, folder, entries)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_ignored(f"{path}/" if is_folder else path, rules):
                continue
            if not is_folder:
                files[path] = False
            elif os.path.lexists(f"{entry.path}/.git"):
                inner_files, inner_empty = list_repository(root / path)
                files |= {f"{path}/{inner}": tracked for inner, tracked in inner_files.items()}
                empty |= {f"{path}/{inner}" for inner in inner_empty}
            else:
                waiting.append((path, rules))
        if folder and not entries:
            empty.add(folder)
    return files, empty


def add_rules(rules: Rules, folder: str, entries: list[os.DirEntry[str]]) -> Rules:
    """Return the rules that hold in a folder with these entries."""
    own = next((entry for entry in entries if entry.name == ".gitignore" and entry.is_file()), None)
    if own is None:
        return rules
    from pathspec import GitIgnoreSpec

    spec = GitIgnoreSpec.from_lines(Path(own.path).read_text(errors="replace").splitlines())
    # The last pattern that matches decides, and the innermost file.
    return ((folder, tuple(reversed([pattern for pattern in spec.patterns if pattern.regex]))), *rules)


def is_ignored(path: str, rules: Rules) -> bool:
    """Tell whether the first pattern that matches a path, a folder's ending in a slash, says that it is ignored."""
    for folder, patterns in rules:
        inner = path[len(folder) + 1 :] if folder else path
        for pattern in patterns:
            if matches_itself(pattern, inner):
                return bool(pattern.include)
    return False


def matches_itself(pattern: "GitIgnoreSpecPattern", path: str) -> bool:
    """Tell whether a pattern matches a path, and not merely a folder above it, whose turn was before.

    A pattern's expression ends with what it matches; one for all that is in a folder ends with the folder.
    """
    found = pattern.regex.match(path) if pattern.regex else None
    if found is None:
        return False
    return found.end() < len(path) if str(pattern.pattern).endswith("/**") else found.end() == len(path)
