"""The project: its folder, and the files to upload."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ProjectError
from infra.git.command import find_program
from infra.git.listing import Listing, is_inside, list_folder, list_repository, list_without_git
from infra.git.pointers import find_pointers
from infra.git.repository import Repository, find_repository
from infra.project.hashes import Hashes
from infra.project.rules import RUNS, Rules
from infra.project.settings import read_settings

SENSITIVE, LINK, SUBMODULE = "may contain secrets", "points outside the project", "submodule not checked out"
POINTER = "only its Git LFS pointer is here"
ADVICE = {
    SENSITIVE: "to upload it, add it to [sync] include in gpujob.toml",
    LINK: "to upload its target, replace the link with a copy",
    SUBMODULE: "git submodule update --init",
    POINTER: "git lfs pull",
}


@dataclass(frozen=True)
class File:
    """A file or symbolic link to upload; the path is relative to the project's root."""

    path: str
    sha256: str
    """Empty for a link."""
    size_bytes: int
    mode: int
    mtime_ns: int
    link: str | None = None


@dataclass(frozen=True)
class Withheld:
    """A path that is not uploaded as it should be though git would commit it, and why."""

    path: str
    reason: str

    @property
    def advice(self) -> str:
        """How to have it uploaded."""
        return ADVICE[self.reason]


@dataclass(frozen=True)
class Project:
    """A folder of code and its files to upload."""

    root: Path
    workdir: str
    """The current folder relative to the project: "." or a subfolder."""
    files: tuple[File, ...]
    folders: tuple[str, ...]
    """Empty folders."""
    withheld: tuple[Withheld, ...]
    outputs: tuple[str, ...]
    """Further paths on the node to download: outside the working tree, or in a cache."""
    unwanted: tuple[str, ...]
    """Patterns of outputs that are not downloaded."""
    repositories: tuple[str, ...]
    """The top folder of each git repository, "" for the project itself."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Where data sets come from, by their paths."""
    copy_of: Path | None = None
    """The project that it is a temporary copy of, with earlier code."""

    @property
    def size_bytes(self) -> int:
        """Total size of the files to upload."""
        return sum(file.size_bytes for file in self.files)

    @property
    def snapshot(self) -> str:
        """SHA-256 that identifies the code: paths, contents, modes and links."""
        lines = sorted(repr((file.path, file.sha256, file.mode, file.link)) for file in self.files) + list(self.folders)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def home(self) -> Path:
        """The folder of the user's project."""
        return self.copy_of or self.root

    @property
    def runs(self) -> Path:
        """The folder that outputs are downloaded to."""
        return self.home / RUNS


def find_here() -> Path | None:
    """Return the current folder; None if it was deleted."""
    try:
        return Path.cwd().resolve()
    except FileNotFoundError:
        return None


def find_root(here: Path) -> Path:
    """Return the top of the git repository around `here`, or `here` if there is none."""
    repository = find_repository(here)
    return repository.top if repository else here


def read_project(here: Path) -> Project:
    """Return the project that contains `here`: the git repository around it, or `here` itself."""
    repository = find_repository(here)
    root = repository.top if repository else here
    check_size(root, here)
    settings = read_settings(root)
    rules = Rules(root, settings)
    listing = list_project(root, repository, rules)
    names, secrets = rules.choose(listing)
    check_inside(names)
    hashes = Hashes(root)
    files = {name: read_file(root, name, hashes) for name in drop_behind_links(root, names)}
    hashes.save()
    links = [name for name, file in files.items() if file is None and (root / name).is_symlink()]
    pointers = find_pointers(root, {name: file.size_bytes for name, file in files.items() if file and not file.link})
    reasons = {
        SENSITIVE: secrets,
        LINK: links,
        SUBMODULE: rules.choose_folders(listing.absent),
        POINTER: pointers,
    }
    return Project(
        root=root,
        workdir=here.relative_to(root).as_posix(),
        files=tuple(file for file in files.values() if file),
        folders=tuple(rules.choose_folders(listing.folders)),
        withheld=tuple(Withheld(path, reason) for reason, paths in reasons.items() for path in sorted(paths)),
        outputs=settings.outputs,
        unwanted=settings.unwanted,
        repositories=tuple(sorted(listing.repositories)),
        data=settings.data,
    )


def check_size(root: Path, here: Path) -> None:
    """Raise ProjectError if the home folder is part of the project."""
    home = Path.home().resolve()
    if not home.is_relative_to(root):
        return
    if home.is_relative_to(here):
        raise ProjectError(
            f"{here} is not a project folder: all of it would be uploaded", "cd to the folder with your code"
        )
    raise ProjectError(
        f"{here} belongs to the git repository {root}, all of which would be uploaded",
        "make this folder a repository of its own: git init",
    )


def list_project(root: Path, repository: Repository | None, rules: Rules) -> Listing:
    """Return what git would commit; without git installed, by our own reading of .gitignore."""

    def skip(folder: Path) -> bool:
        return rules.is_results(folder.relative_to(root).as_posix())

    if repository:
        return list_repository(repository, skip)
    return list_folder(root, skip) if find_program() else list_without_git(root)


def check_inside(names: Iterable[str]) -> None:
    """Raise ProjectError for a path outside the project."""
    for name in names:
        if not is_inside(name):
            raise ProjectError(f"{name!r} is outside the project", "check [sync] include in gpujob.toml")


def drop_behind_links(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the names except those in a folder that is now a link, where git sees nothing."""
    real = os.path.realpath(root)
    behind: dict[str, bool] = {"": False}
    for name in names:
        folder = name.rpartition("/")[0]
        if folder not in behind:
            behind[folder] = os.path.realpath(f"{real}/{folder}") != f"{real}/{folder}"
        if not behind[folder]:
            yield name


def read_file(root: Path, name: str, hashes: Hashes) -> File | None:
    """Return a file to upload; None for what is not uploaded.

    Not uploaded: what was deleted, what is neither file nor link, and a link that points outside. On the node such a link
    would dangle, and following it would upload a file that is not part of the project. Raises ProjectError if the file
    cannot be read.
    """
    path = f"{root}/{name}"  # for 20,000 files, Path takes a third of the time
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            link = str((root / name).readlink())
            inside = leads_inside(root, root / name, link)
            return File(name, "", 0, 0o777, info.st_mtime_ns, link=link) if inside else None
        if not stat.S_ISREG(info.st_mode):
            return None
        return File(name, hashes.hash_of(name, info), info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):  # git sees a deleted file
        return None
    except OSError as error:
        raise ProjectError(f"cannot read {name!r}: {error.strerror}", "fix it, or add it to .gitignore") from error


def leads_inside(root: Path, path: Path, link: str) -> bool:
    """Return whether a symbolic link's target is in the project, also after the project is moved."""
    target = Path(os.path.normpath(path.parent / link))
    return (
        not link.startswith("/") and target.is_relative_to(root) and Path(os.path.realpath(target)).is_relative_to(root)
    )
