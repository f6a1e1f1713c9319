"""Upload rules beyond git's: secrets, caches, results, .gpujobignore and the project's settings."""

import os
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infra.base.folders import read_plain
from infra.errors import ProjectError
from infra.git.listing import Listing
from infra.git.patterns import match
from infra.node.agent import trees
from infra.node.agent.caches import is_cache, is_environment, lies_in_cache, with_parents
from infra.project.secretfiles import is_secret
from infra.project.settings import Settings

RUNS = "runs"
IGNORE_FILE = ".gpujobignore"
# Like caches, not uploaded unless tracked by git or included.
MADE = ("site-packages", ".eggs", ".hg", ".svn", ".jj")
RESULTS = re.compile(rf"(?:^|/){RUNS}/[^/]+-\d+(?=/|$)")
WILD = frozenset("*?[\\")


@dataclass(frozen=True)
class Rules:
    """The upload rules of a project's folder and settings."""

    root: Path
    settings: Settings
    environments: dict[str, bool] = field(default_factory=dict)
    """Whether each folder examined so far is an environment."""

    def choose(self, listing: Listing) -> tuple[list[str], list[str]]:
        """Return the files to upload, and those withheld as possible secrets.

        They are what git would commit, less .gpujobignore and `exclude`, plus `include`, all in .gitignore's syntax.
        """
        ignored = match(self.excluded, listing.files)
        data = self.settings.data
        kept = {n for n, tracked in listing.files.items() if n not in ignored and (tracked or not self.is_made(n))}
        included = self.find_included()
        if data:
            kept, included = ({n for n in names if not lies_in(n, data)} for names in (kept, included))
        named = {pattern.strip("/") for pattern in self.settings.include if not WILD & set(pattern)}
        secrets = {n for n in kept | included if is_secret(n) and not (n in included and is_named(n, named))}
        return sorted((kept | included) - secrets), sorted(secrets)

    def choose_folders(self, folders: set[str]) -> list[str]:
        """Return the empty folders to create on the node."""
        wanted = {name for name in folders if name != RUNS and not self.is_made(f"{name}/") and not is_secret(name)}
        data = self.settings.data
        return sorted(n for n in wanted - match(self.excluded, (), wanted) if not (data and lies_in(n, data)))

    @property
    def excluded(self) -> bytes:
        """The patterns of .gpujobignore, then those of `exclude`."""
        return b"\n".join((read_ignore_file(self.root), *map(os.fsencode, self.settings.exclude)))

    def find_included(self) -> set[str]:
        """Return the files that match `include`, ignored by git or not."""
        starts = {literal_start(pattern) for pattern in self.settings.include if not pattern.startswith("!")}
        names = {name for start in starts for name in self.walk(start)}
        return match(b"\n".join(map(os.fsencode, self.settings.include)), names)

    def walk(self, start: str) -> Iterator[str]:
        """Yield all files and links at or below `start`, except in .git, caches, environments and results."""
        top = self.root / start
        if top.is_symlink() or not top.is_dir():  # a file named explicitly, even one of downloaded results
            yield from [start] if os.path.lexists(top) else []
            return
        if self.is_results(start):
            return
        for parent, folders, files in trees.walk(top):
            inner = PurePosixPath(os.path.relpath(parent, self.root))
            links = [name for name in folders if Path(parent, name).is_symlink()]
            folders[:] = [name for name in folders if self.is_worth_entering(inner / name)]
            yield from (str(inner / name) for name in files + links if name.lower() != ".git")

    def is_worth_entering(self, folder: PurePosixPath) -> bool:
        """Return whether a folder may contain hand-written files."""
        if folder.name in MADE or folder.name.lower() == ".git" or is_cache(str(folder)):
            return False
        return not self.is_environment(str(folder)) and not self.is_results(str(folder))

    def is_made(self, name: str) -> bool:
        """Return whether a path (a folder's with a slash) is in a cache, an environment or results."""
        parts = name.split("/")
        if any(part in MADE for part in parts) or lies_in_cache(name.rstrip("/")) or self.is_results(name):
            return True
        return any(self.is_environment("/".join(parts[:count])) for count in range(1, len(parts)))

    def is_environment(self, folder: str) -> bool:
        """Return whether a folder is a Python environment, whatever its name."""
        if folder not in self.environments:
            self.environments[folder] = is_environment(f"{self.root}/{folder}")
        return self.environments[folder]

    def is_results(self, name: str) -> bool:
        """Return whether a path is in a folder of downloaded results, which contains a receipt."""
        folders = [name[: found.end()] for found in RESULTS.finditer(name)]
        if not folders:
            return False
        from infra.results.receipts import is_results  # imports Fabric, which takes a third of a second

        return any(is_results(self.root / folder) for folder in folders)


def lies_in(name: str, folders: Container[str]) -> bool:
    """Return whether a path is one of these, or inside one."""
    return any(above in folders for above in with_parents(name))


def read_ignore_file(root: Path) -> bytes:
    """Return the project's .gpujobignore; raises ProjectError if it cannot be read."""
    try:
        return read_plain(root / IGNORE_FILE)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ProjectError(f"cannot read {IGNORE_FILE}: {error.strerror}", "fix it, then rerun") from error


def literal_start(pattern: str) -> str:
    """Return the path below which a pattern can match: its parts before the first wildcard."""
    parts = pattern.strip("/").split("/")
    if len(parts) == 1 and not pattern.startswith("/"):
        return ""  # a name without a slash matches anywhere
    return "/".join(parts[: next((at for at, part in enumerate(parts) if WILD & set(part)), len(parts))])


def is_named(name: str, named: set[str]) -> bool:
    """Return whether a path, or its last part, is listed without a wildcard."""
    return name in named or PurePosixPath(name).name in named
