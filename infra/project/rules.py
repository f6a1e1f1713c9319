"""What is uploaded, beyond what git says: rules for secrets, caches and results, .gpujobignore and the project's settings."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infra.base.folders import read_plain
from infra.errors import ProjectError
from infra.git.listing import Listing
from infra.git.patterns import match
from infra.node.agent import trees
from infra.node.agent.caches import is_cache, is_environment, lies_in_cache
from infra.project.secretfiles import is_secret
from infra.project.settings import Settings

RUNS = "runs"
IGNORE_FILE = ".gpujobignore"
# Not uploaded unless git tracks them or they are included, as caches are not.
MADE = ("site-packages", ".eggs", ".hg", ".svn", ".jj")
RESULTS = re.compile(rf"(?:^|/){RUNS}/[^/]+-\d+(?=/|$)")
WILD = frozenset("*?[\\")


@dataclass(frozen=True)
class Rules:
    """What a project's folder and settings say of its files."""

    root: Path
    settings: Settings
    environments: dict[str, bool] = field(default_factory=dict)
    """Each folder that was looked at, with whether it is an environment."""

    def choose(self, listing: Listing) -> tuple[list[str], list[str]]:
        """Return which of the files that git would commit are uploaded, and which are held back as secrets.

        The project's .gpujobignore and `exclude` take some away, `include` adds others, both in the way of .gitignore.
        """
        ignored = match(self.excluded, listing.files)
        kept = {n for n, tracked in listing.files.items() if n not in ignored and (tracked or not self.is_made(n))}
        included = self.find_included()
        named = {pattern.strip("/") for pattern in self.settings.include if not WILD & set(pattern)}
        secrets = {n for n in kept | included if is_secret(n) and not (n in included and is_named(n, named))}
        return sorted((kept | included) - secrets), sorted(secrets)

    def choose_folders(self, folders: set[str]) -> list[str]:
        """Return which of the empty folders are made on the node, too."""
        wanted = {name for name in folders if name != RUNS and not self.is_made(f"{name}/") and not is_secret(name)}
        return sorted(wanted - match(self.excluded, (), wanted))

    @property
    def excluded(self) -> bytes:
        """The patterns of .gpujobignore, then those of `exclude`."""
        return b"\n".join((read_ignore_file(self.root), *map(os.fsencode, self.settings.exclude)))

    def find_included(self) -> set[str]:
        """Return the files that `include` names, ignored by git or not."""
        starts = {literal_start(pattern) for pattern in self.settings.include if not pattern.startswith("!")}
        names = {name for start in starts for name in self.walk(start)}
        return match(b"\n".join(map(os.fsencode, self.settings.include)), names)

    def walk(self, start: str) -> Iterator[str]:
        """Yield every file and link at `start` and below, except in git's own folders, caches, environments and results."""
        top = self.root / start
        if top.is_symlink() or not top.is_dir():  # a file that is named, if only of downloaded results
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
        """Tell whether files that somebody wrote may lie in a folder."""
        if folder.name in MADE or folder.name.lower() == ".git" or is_cache(str(folder)):
            return False
        return not self.is_environment(str(folder)) and not self.is_results(str(folder))

    def is_made(self, name: str) -> bool:
        """Tell whether a path, a folder's ending in a slash, lies in a cache, in an environment or in downloaded results."""
        parts = name.split("/")
        if any(part in MADE for part in parts) or lies_in_cache(name.rstrip("/")) or self.is_results(name):
            return True
        return any(self.is_environment("/".join(parts[:count])) for count in range(1, len(parts)))

    def is_environment(self, folder: str) -> bool:
        """Tell whether a folder holds an environment of Python, whatever its name."""
        if folder not in self.environments:
            self.environments[folder] = is_environment(f"{self.root}/{folder}")
        return self.environments[folder]

    def is_results(self, name: str) -> bool:
        """Tell whether a path lies in a folder of downloaded results, which has their receipt."""
        folders = [name[: found.end()] for found in RESULTS.finditer(name)]
        if not folders:
            return False
        from infra.results.receipts import is_results  # brings Fabric, which takes a third of a second

        return any(is_results(self.root / folder) for folder in folders)


def read_ignore_file(root: Path) -> bytes:
    """Return the project's .gpujobignore; raises ProjectError if it cannot be read."""
    try:
        return read_plain(root / IGNORE_FILE)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ProjectError(f"{IGNORE_FILE} cannot be read: {error.strerror}", "fix that, then rerun") from error


def literal_start(pattern: str) -> str:
    """Return the folder or file below which a pattern can match: the parts before the first one with a wildcard."""
    parts = pattern.strip("/").split("/")
    if len(parts) == 1 and not pattern.startswith("/"):
        return ""  # a mere name matches anywhere
    return "/".join(parts[: next((at for at, part in enumerate(parts) if WILD & set(part)), len(parts))])


def is_named(name: str, named: set[str]) -> bool:
    """Tell whether somebody wrote this very path, or its last part, with no wildcard in it."""
    return name in named or PurePosixPath(name).name in named
