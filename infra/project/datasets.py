"""A project's data sets: their sources in [data] of gpujob.toml, and the files to send."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.errors import ProjectError, UsageError
from infra.model import DataSet
from infra.node.agent import trees
from infra.node.agent.data.store import ITSELF, version_of
from infra.node.agent.data.store import File as Stored
from infra.project.files import File, leads_inside
from infra.project.hashes import Hashes
from infra.project.secretfiles import is_secret
from infra.project.settings import FILE

S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\0\r\n]*)?")
WEB = re.compile(r"(https?://[^\s#]+)#sha256=([0-9a-fA-F]{64})")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
SKIPPED = (".git", ".DS_Store")
BLOCK_BYTES = 512  # stat(2)


@dataclass(frozen=True)
class Source:
    """The source of a data set: a path on this computer, or an address from which the node fetches it."""

    path: str
    shown: str
    """As the user wrote it, without the possibly secret parts of an address."""
    place: Path | None
    address: str = ""
    sha256: str = ""

    def leads_out(self, root: Path) -> bool:
        """Return whether it is on this computer, but not in the project."""
        return self.place is not None and not self.place.is_relative_to(root.resolve())


@dataclass(frozen=True)
class Listing:
    """The files of a data set on this computer, and those that are not sent."""

    source: Source
    place: Path
    files: tuple[File, ...]
    secret: tuple[str, ...]
    links: tuple[str, ...]
    """Links to files outside it."""
    size_bytes: int
    """Without the holes of sparse files."""

    @property
    def stored(self) -> tuple[Stored, ...]:
        """The files as a node stores them."""
        return tuple(
            Stored(
                one.path,
                one.sha256,
                one.size_bytes,
                bool(one.mode & stat.S_IXUSR and one.link is None),
                one.mtime_ns,
                one.link,
            )
            for one in self.files
        )

    @property
    def data_set(self) -> DataSet:
        """The version that a job sees."""
        return DataSet(self.source.path, self.source.shown, version_of(self.stored))


def read_sources(root: Path, data: Mapping[str, str]) -> tuple[Source, ...]:
    """Return the data sets of a project; raises UsageError for an address that cannot be used."""
    return tuple(read_source(root, path, address) for path, address in data.items())


def read_source(root: Path, path: str, address: str) -> Source:
    """Return one data set."""
    if S3.fullmatch(address):
        return Source(path, address, None, address)
    if found := WEB.fullmatch(address):
        parts = urlsplit(found[1])
        if "@" in parts.netloc:
            raise UsageError(f"{FILE}: [data] {path}: the address has a password", "use a link that needs none")
        return Source(path, parts._replace(query="", fragment="").geturl(), None, found[1], found[2].lower())
    if address.startswith(("http://", "https://")):
        raise UsageError(
            f"{FILE}: [data] {path}: the address has no SHA-256",
            f'write "{path}" = "{address.partition("#")[0]}#sha256=..."',
        )
    if SCHEME.match(address):
        raise UsageError(
            f"{FILE}: [data] {path}: cannot fetch {address}", "use a folder, a file, s3://... or https://...#sha256=..."
        )
    place = (root / os.path.expanduser(address)).resolve()  # noqa: PTH111  a name such as ~x/ that has no home stays as it is
    check_place(path, address, place)
    return Source(path, address, place)


def check_place(path: str, address: str, place: Path) -> None:
    """Raise an error for a place that must not be sent as a whole, or does not exist."""
    if is_secret(str(place).lstrip("/")):
        raise UsageError(
            f"{FILE}: [data] {path}: {address} often contains secrets", "copy what is needed to another folder"
        )
    if Path.home().resolve().is_relative_to(place):
        raise UsageError(
            f"{FILE}: [data] {path}: {address} contains your whole home folder", "name the folder with the data"
        )
    if not place.exists():
        raise ProjectError(f"[data] {path}: {place} does not exist", f"create it, or fix {FILE}")


def list_files(source: Source, place: Path, report: Callable[[int], object]) -> Listing:
    """Return the files of a data set; `report` gets each size. Raises ProjectError if one is unreadable."""
    hashes = Hashes(place if place.is_dir() else place.parent)
    files, secret, links, size_bytes = [], [], [], 0
    for name in walk(place):
        path = place / name if name else place
        if is_secret(name or place.name):
            secret.append(name or place.name)
            continue
        try:
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                link = str(path.readlink())
                if leads_inside(place, path, link):
                    files.append(File(name, "", 0, 0o777, info.st_mtime_ns, link=link))
                else:
                    links.append(name)
            elif stat.S_ISREG(info.st_mode):
                sha256 = hashes.hash_of(name or place.name, info)
                files.append(File(name, sha256, info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns))
                size_bytes += min(info.st_size, info.st_blocks * BLOCK_BYTES)
                report(info.st_size)
        except OSError as error:
            raise ProjectError(f"cannot read {str(path)!r}: {error.strerror}", "fix it, then rerun") from error
    hashes.save()
    return Listing(source, place, tuple(files), tuple(secret), tuple(links), size_bytes)


def walk(place: Path) -> Iterator[str]:
    """Yield the files and links below a folder, in order; for a file, its only name."""
    if not place.is_dir():
        yield ITSELF
        return

    def complain(error: OSError) -> None:
        raise ProjectError(f"cannot read {str(error.filename)!r}: {error.strerror}", "fix it, then rerun") from error

    for parent, folders, files in trees.walk(place, complain):
        inner = os.path.relpath(parent, place)
        prefix = "" if inner == "." else f"{inner}/"
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        yield from (f"{prefix}{name}" for name in sorted(files + links) if name not in SKIPPED)
