"""The project: which folder it is, and which of its files are uploaded."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ProjectError
from infra.git.command import find_program
from infra.git.listing import Listing, is_inside, list_folder, list_repository, list_without_git
from infra.git.repository import Repository, find_repository
from infra.project.hashes import Hashes
from infra.project.rules import RUNS, Rules
from infra.project.settings import read_settings

SENSITIVE, LINK, SUBMODULE = "may hold secrets", "leads out of the project", "submodule not checked out"
ADVICE = {
    SENSITIVE: "to upload one, name it in [sync] include in gpujob.toml",
    LINK: "to upload what it leads to, replace the link by a copy",
    SUBMODULE: "git submodule update --init",
}


@dataclass(frozen=True)
class File:
    """A file or symbolic link that is uploaded; the path is relative to the project's root."""

    path: str
    sha256: str
    """Empty for a link."""
    size_bytes: int
    mode: int
    mtime_ns: int
    link: str | None = None


@dataclass(frozen=True)
class Withheld:
    """What is not uploaded though git would commit it, and why."""

    path: str
    reason: str

    @property
    def advice(self) -> str:
        """What to do to upload it."""
        return ADVICE[self.reason]


@dataclass(frozen=True)
class Project:
    """A folder of code and what is to be uploaded of it."""

    root: Path
    workdir: str
    """Where in the project the person stands: "." or a subfolder."""
    files: tuple[File, ...]
    folders: tuple[str, ...]
    """Folders without anything in them."""
    withheld: tuple[Withheld, ...]
    outputs: tuple[str, ...]
    """Paths on the node that are downloaded though they lie outside of its working tree, or in a cache."""
    unwanted: tuple[str, ...]
    """Patterns of outputs that are not downloaded."""
    repositories: tuple[str, ...]
    """The top folder of each git repository, "" for the project itself."""

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
        """Where outputs are downloaded to."""
        return self.root / RUNS


def find_root(here: Path) -> Path:
    """Return the top of the git repository around `here`, or `here` where there is none."""
    repository = find_repository(here)
    return repository.top if repository else here


def read_project(here: Path) -> Project:
    """Return the project that `here` belongs to: the git repository around it, or else `here` itself."""
    repository = find_repository(here)
    root = repository.top if repository else here
    if Path.home().resolve().is_relative_to(root):
        raise ProjectError(
            f"{root} is not a project folder: all of it would be uploaded", "cd to the folder of your code"
        )
    settings = read_settings(root)
    rules = Rules(root, settings)
    listing = list_project(root, repository, rules)
    names, secrets = rules.choose(listing)
    check_inside(names)
    hashes = Hashes(root)
    files = {name: read_file(root, name, hashes) for name in drop_behind_links(root, names)}
    hashes.save()
    links = [name for name, file in files.items() if file is None and (root / name).is_symlink()]
    reasons = {SENSITIVE: secrets, LINK: links, SUBMODULE: rules.choose_folders(listing.absent)}
    return Project(
        root=root,
        workdir=here.relative_to(root).as_posix(),
        files=tuple(file for file in files.values() if file),
        folders=tuple(rules.choose_folders(listing.folders)),
        withheld=tuple(Withheld(path, reason) for reason, paths in reasons.items() for path in sorted(paths)),
        outputs=settings.outputs,
        unwanted=settings.unwanted,
        repositories=tuple(sorted(listing.repositories)),
    )


def list_project(root: Path, repository: Repository | None, rules: Rules) -> Listing:
    """Return what git would commit of a project; by our own reading of its rules where git is neither needed nor installed."""

    def skip(folder: Path) -> bool:
        return rules.is_results(folder.relative_to(root).as_posix())

    if repository:
        return list_repository(repository, skip)
    return list_folder(root, skip) if find_program() else list_without_git(root)


def check_inside(names: Iterable[str]) -> None:
    """Raise ProjectError for a path that leads out of the project, however it came to be listed."""
    for name in names:
        if not is_inside(name):
            raise ProjectError(f"{name!r} leads out of the project", "look at include in gpujob.toml")


def drop_behind_links(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the names except those in a folder that is a link by now: git sees nothing there."""
    real = os.path.realpath(root)
    behind: dict[str, bool] = {"": False}
    for name in names:
        folder = name.rpartition("/")[0]
        if folder not in behind:
            behind[folder] = os.path.realpath(f"{real}/{folder}") != f"{real}/{folder}"
        if not behind[folder]:
            yield name


def read_file(root: Path, name: str, hashes: Hashes) -> File | None:
    """Return what a file is and holds; None for what is not uploaded.

    That is what is no longer there, what is neither file nor link, and a link that leads outside: on the node it would
    dangle, and to follow it would upload a file that nobody put into the project. Raises ProjectError if the file cannot be read.
    """
    path = root / name
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            link = str(path.readlink())
            return File(name, "", 0, 0o777, info.st_mtime_ns, link=link) if leads_inside(root, path, link) else None
        if not stat.S_ISREG(info.st_mode):
            return None
        return File(name, hashes.hash_of(name, info), info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):  # for git it is deleted
        return None
    except OSError as error:
        raise ProjectError(f"{name!r} cannot be read: {error.strerror}", "fix that, or add it to .gitignore") from error


def leads_inside(root: Path, path: Path, link: str) -> bool:
    """Tell whether what a symbolic link points to lies in the project, also once the project lies elsewhere."""
    target = Path(os.path.normpath(path.parent / link))
    return (
        not link.startswith("/") and target.is_relative_to(root) and Path(os.path.realpath(target)).is_relative_to(root)
    )
