"""The project: which folder it is, and which of its files travel."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ProjectError
from infra.git import find_top, list_repository
from infra.hashes import Hashes
from infra.rules import RUNS, SECRETS, choose, is_left_out, match, matches, read_ignore_file
from infra.settings import read_settings
from infra.walk import list_folder


@dataclass(frozen=True)
class File:
    """A file or symbolic link that travels; the path is relative to the project's root."""

    path: str
    sha256: str
    """Empty for a link."""
    size_bytes: int
    mode: int
    mtime_ns: int
    link: str | None = None


@dataclass(frozen=True)
class Project:
    """A folder of code and what is to be carried of it."""

    root: Path
    workdir: str
    """Where in the project the person stands: "." or a subfolder."""
    files: tuple[File, ...]
    folders: tuple[str, ...]
    """Folders without anything in them."""
    outputs: tuple[str, ...]
    """Paths on the node that are downloaded though they lie outside of its working tree, or in a cache."""
    unwanted: tuple[str, ...]
    """Patterns of outputs that are not downloaded."""
    left_out: tuple[str, ...]
    """Secrets, and links to folders outside: named to the person, never carried."""

    @property
    def size_bytes(self) -> int:
        """How much all of it is."""
        return sum(file.size_bytes for file in self.files)

    @property
    def snapshot(self) -> str:
        """The SHA-256 that tells this code from any other: paths, contents, modes and links."""
        lines = sorted(repr((file.path, file.sha256, file.mode, file.link)) for file in self.files) + list(self.folders)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def runs(self) -> Path:
        """Where outputs come home to."""
        return self.root / RUNS


def find_root(here: Path) -> Path:
    """Return the top of the git repository around `here`, or `here` where there is none."""
    return find_top(here) or here


def read_project(here: Path) -> Project:
    """Return the project that `here` belongs to: the git repository around it, or else `here` itself."""
    top = find_top(here)
    root = top or here
    if root in (Path.home().resolve(), Path(root.anchor)):
        raise ProjectError(f"{root} is not a project folder: all of it would be sent", "cd to the folder of your code")
    settings = read_settings(root)
    listed, empty = list_repository(root) if top else list_folder(root)
    names, secrets = choose(root, listed, settings.include, settings.exclude)
    hashes = Hashes(root)
    files = {name: read_file(root, name, hashes) for name in names}
    hashes.save()
    unwanted = match((f"{folder}/" for folder in empty), (*read_ignore_file(root), *settings.exclude))
    return Project(
        root=root,
        workdir=here.relative_to(root).as_posix(),
        files=tuple(file for file in files.values() if file),
        folders=tuple(
            sorted(f for f in empty if not is_left_out(f) and not matches(f, SECRETS) and f"{f}/" not in unwanted)
        ),
        outputs=settings.outputs,
        unwanted=settings.unwanted,
        left_out=tuple(
            sorted([*secrets, *(name for name, file in files.items() if not file and (root / name).is_symlink())])
        ),
    )


def read_file(root: Path, name: str, hashes: Hashes) -> File | None:
    """Return what a file is and holds; a link that leads outside counts as the file it leads to.

    None for what does not travel: what is no longer there, or neither file nor link, and a link to a folder or a secret outside.
    Raises ProjectError if it cannot be read.
    """
    path = root / name
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            link = str(path.readlink())
            if leads_inside(root, path, link):
                return File(name, "", 0, 0o777, info.st_mtime_ns, link=link)
            info = path.stat()
            if matches(str(path.resolve()), SECRETS):
                return None
        if not stat.S_ISREG(info.st_mode):
            return None
        return File(name, hashes.hash_of(name, info), info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProjectError(f"{name} cannot be read: {error.strerror}", "mend it, or add it to .gitignore") from error


def leads_inside(root: Path, path: Path, link: str) -> bool:
    """Tell whether what a symbolic link points to lies in the project, also once the project lies elsewhere."""
    target = Path(os.path.normpath(path.parent / link))
    return not link.startswith("/") and target.is_relative_to(root)
