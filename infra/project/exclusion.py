"""Why a file or folder of this computer is not part of the upload: the rule, and how to include it."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from infra.git.command import empty_repository, find_program, git
from infra.git.patterns import lies_ignored, parse
from infra.node.agent import trees
from infra.project.files import Project
from infra.project.rules import IGNORE_FILE, Rules, read_ignore_file
from infra.project.settings import FILE, read_settings

MOST_FILES = 10_000  # of a folder that are compared with the upload
SPECIAL = re.compile(r"([*?\[\]\\!#])")


@dataclass(frozen=True)
class Exclusion:
    """A path that is not uploaded, or not completely."""

    path: str
    """Relative to the project; absolute if it is outside."""
    rule: str
    """What excludes it: .gitignore line 2 (*.csv)."""
    advice: str
    """How to have it uploaded."""
    left_out: int = 0
    """How many of a folder's files are not uploaded; 0 for a file, or if none is."""


def find_exclusion(project: Project, path: Path) -> Exclusion | None:
    """Return why an absolute path is not uploaded; None if it is, or if it does not exist."""
    path = Path(os.path.normpath(path))
    if not os.path.lexists(path):
        return None
    if not path.is_relative_to(project.root):
        return Exclusion(str(path), "outside the project", "copy it into the project")
    name = path.relative_to(project.root).as_posix()
    if name == "." or ".git" in name.lower().split("/"):
        return None
    uploaded = {file.path for file in project.files} - {each.path for each in project.withheld}
    explain = Explanation(project, Rules(project.root, read_settings(project.root)))
    if not path.is_dir() or path.is_symlink():
        return None if name in uploaded else explain.file(name)
    files = list(islice(explain.list_files(name), MOST_FILES))
    missing = sorted(set(files) - uploaded)
    if missing:
        return explain.folder(name, missing[0], len(missing) if len(missing) < len(files) else 0)
    return None if files or name in project.folders else explain.folder(name, name, 0)


@dataclass(frozen=True)
class Explanation:
    """The reasons why files of a project are not uploaded."""

    project: Project
    rules: Rules

    def file(self, name: str) -> Exclusion:
        """Return why a file is not uploaded."""
        rule, advice = self.find_rule(name)
        return Exclusion(name, rule, advice or self.advise(escape(name)))

    def folder(self, name: str, witness: str, left_out: int) -> Exclusion:
        """Return why a folder is not, or not completely, uploaded, by one of its files."""
        rule, advice = self.find_rule(witness)
        if self.rules.is_results(f"{name}/"):
            advice = "copy what the job needs out of runs/"
        return Exclusion(name, rule, advice or self.advise(f"/{escape(name)}/"), left_out)

    def list_files(self, folder: str) -> Iterator[str]:
        """Yield the files of a folder, except in caches inside it."""
        if not self.rules.is_made(f"{folder}/"):
            yield from (name for name in self.rules.walk(folder) if not self.rules.is_made(name))
            return
        for top, _, files in trees.walk(self.rules.root / folder):
            yield from (os.path.relpath(f"{top}/{name}", self.rules.root) for name in files)

    def find_rule(self, name: str) -> tuple[str, str]:
        """Return the rule that excludes a path, and how to include it if not by [sync] include."""
        for each in self.project.withheld:
            if f"{name}/".startswith(f"{each.path}/"):
                return each.reason, each.advice
        if rule := self.find_own_rule(name) or self.find_git_rule(name):
            return rule, ""
        if self.rules.is_results(name):
            return "downloaded results", ""
        return "a cache or an environment" if self.rules.is_made(name) else "not a regular file", ""

    def find_own_rule(self, name: str) -> str:
        """Return the last matching line of .gpujobignore or pattern of [sync] exclude; "" if none."""
        lines = os.fsdecode(read_ignore_file(self.project.root)).splitlines()
        numbered = [(f"{IGNORE_FILE} line {number}", line) for number, line in enumerate(lines, 1)]
        patterns = [(f"{FILE} [sync] exclude", pattern) for pattern in self.rules.settings.exclude]
        for place, pattern in reversed([*numbered, *patterns]):
            if lies_ignored(name, False, parse(os.fsencode(pattern))):
                return f"{place} ({pattern})"
        return ""

    def find_git_rule(self, name: str) -> str:
        """Return the line of a .gitignore file that matches a path; "" if none does, or without git."""
        if find_program() is None:
            return ""
        inside = [each for each in self.project.repositories if not each or name.startswith(f"{each}/")]
        if not inside:
            with empty_repository() as options:
                return ask_git(self.project.root, "", options, name)
        return ask_git(self.project.root, max(inside, key=len), ("--work-tree=.",), name)

    def advise(self, pattern: str) -> str:
        """Return the line of gpujob.toml that includes a pattern."""
        if self.rules.settings.include:
            return f"in {FILE}, add {json.dumps(pattern)} to [sync] include"
        return f"in {FILE}, below [sync]: include = [{json.dumps(pattern)}]"


def ask_git(root: Path, top: str, options: tuple[str, ...], name: str) -> str:
    """Return file, line and pattern by which the repository at `top` ignores a path; "" if it does not."""
    inner = name[len(top) :].lstrip("/")
    answer = git(
        root / top, *options, "check-ignore", "--no-index", "-v", "-z", "--stdin", stdin=os.fsencode(f"./{inner}")
    )
    source, line, pattern, *_ = [*map(os.fsdecode, answer.stdout.split(b"\0")), "", "", ""]
    if not source or pattern.startswith("!"):
        return ""
    return f"{os.path.normpath(os.path.join(top, source))} line {line} ({pattern})"  # noqa: PTH118  it may be absolute


def escape(name: str) -> str:
    """Return a pattern that matches only this path."""
    return SPECIAL.sub(r"\\\1", name)
