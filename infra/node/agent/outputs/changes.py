"""What a job created or changed, told by comparison with what was sent; and what lies elsewhere and was asked for."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Callable, Iterator

from .. import trees
from ..caches import lies_in_cache
from ..records import folder_of, is_supervised, read_json, record_of, work_of
from .asked import Found, asked_of, closed_paths, find_asked, show
from .hashing import Hashes, stamp_of
from .outside import find_left
from .settled import find_unsettled, is_settled
from .sieve import Sieve

Leave = Callable[[str, str, bool], bool]


def list_outputs(number: str, *options: str) -> dict[str, Any]:
    """Return a job's record, every regular file and link that it created or changed, and what of it is not downloaded.

    With `--settled` those alone that are whole, though the job runs. `--output=PATH` asks for a path outside of the working tree,
    or for a cache inside, from now on.
    """
    folder, settled = folder_of(number), "--settled" in options
    asked = asked_of(folder, [option.partition("=")[2] for option in options if option.startswith("--output=")])
    job = record_of(number)  # only now: a job of which more is asked for is no longer downloaded
    found, missing = find_asked(folder, asked)
    look = Look(folder, settled)
    sent, work = read_json(folder / "manifest.json"), work_of(folder)
    sieve = Sieve(
        sent, [each.name for each in found if not each.base], read_json(folder / "job.json").get("exclude", [])
    )
    look.look_below(Found(work, "", work), sent, sieve.leaves_out)
    if not work.is_dir():
        look.unreadable.append(".")  # the job has removed it, which is not the same as having written nothing
    for each in found:
        if each.base:
            look.look_below(each, {}, leave_closed(each, work))
    look.hashes.save()
    left, complete = ([], True) if settled else find_left([int(number)])
    return {
        "job": job,
        "outputs": list(look.entries.values()),
        "unreadable": look.unreadable,
        "unsettled": look.unsettled_names,
        "missing": missing,
        "held": [] if settled else name_groups(sieve.weigh(), folder),
        "excluded": [] if settled else name_groups(sieve.weigh_dropped(stamps_of(sent)), folder),
        "left": left,
        "left_complete": complete,
    }


def name_groups(groups: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Return groups of files of the working tree by their paths as a person would ask for them."""
    tree = os.path.realpath(work_of(folder))
    return [{**group, "path": show(f"{tree}/{group['path']}", folder)} for group in groups]


def stamps_of(sent: dict[str, Any]) -> dict[str, Any]:
    """Return what each file that was sent is told by while nobody has written to it."""
    return {name: about.get("stamp") for name, about in sent.items()}


def leave_closed(found: Found, work: Path) -> Leave:
    """Return what leaves out what is private below a path, the working tree, and caches unless one of them was asked for."""
    closed = {*closed_paths(), os.path.realpath(work)}
    sieve = Sieve((), [found.name] if lies_in_cache(found.name) else [], ())
    return lambda name, path, is_folder: path in closed or sieve.leaves_out(name, path, is_folder)


class Look:
    """One look at what a job has written; no file is read that is as an earlier look found it."""

    def __init__(self, folder: Path, settled: bool) -> None:
        """Begin to look at a job's files; with `settled` at those alone that are whole."""
        self.over = not is_supervised(folder)
        self.unsettled = find_unsettled(folder) if settled else None
        self.hashes = Hashes(folder / "hashes.json")
        self.entries: dict[tuple[bool, str], dict[str, Any]] = {}
        """What was found, by whether it lies outside of the working tree, and by name."""
        self.first: dict[tuple[bool, int, int], str] = {}
        """The name under which a file with several (hard links) was met first, by device and inode."""
        self.unreadable: list[str] = []
        self.unsettled_names: list[str] = []

    def look_below(self, found: Found, sent: dict[str, Any], leave: Leave) -> None:
        """Describe each file at a path and below that is not as it was `sent`."""

        def complain(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                self.unreadable.append(found.name_of(Path(str(error.filename))))

        is_folder = found.path.is_dir()
        for path in walk(found, self.over, complain, leave) if is_folder else [found.path]:
            name, outside = found.name_of(path), bool(found.base)
            try:
                if self.unsettled is not None and not is_settled(path, self.unsettled):
                    self.unsettled_names.append(name)
                    continue
                entry = self.describe(path, found, sent.get(name, {}))
            except FileNotFoundError:  # a job that still runs may remove it
                continue
            except OSError:
                self.unreadable.append(name)
                continue
            if entry:
                self.entries[outside, name] = {"path": name, "outside": outside, **entry}

    def describe(self, path: Path, found: Found, sent: dict[str, Any]) -> dict[str, Any] | None:
        """Return what an output is; None if it is as it was sent, or neither a file nor a link."""
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            return describe_link(path, found.root, sent)
        if not stat.S_ISREG(info.st_mode) or sent.get("stamp") == stamp_of(info):
            return None
        if self.over:
            open_up(path, stat.S_IRUSR)
        name, outside = found.name_of(path), bool(found.base)
        first = self.first.setdefault((outside, info.st_dev, info.st_ino), name) if info.st_nlink > 1 else name
        sha256 = self.hashes.hash_of((outside, name), path, info, (outside, first))
        if sha256 == sent.get("sha256"):
            return None
        mode, same_as = stat.S_IMODE(info.st_mode), "" if first == name else first
        return {"size_bytes": info.st_size, "sha256": sha256, "mode": mode, "link": None, "same_as": same_as}


def describe_link(path: Path, root: Path, sent: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a symbolic link is; None if it is as it was sent."""
    link = os.readlink(path)
    if sent.get("link") == link:
        return None
    if link.startswith(f"{root}/"):  # it leads to the job's own files, wherever they come to lie
        link = os.path.relpath(link, path.parent)
    return {"link": link, "size_bytes": 0, "sha256": "", "mode": 0o777, "same_as": ""}


def walk(found: Found, over: bool, complain: Callable[[OSError], None], leave: Leave | None = None) -> Iterator[Path]:
    """Yield every file and link below a folder, but for what is to be left out; no link is followed."""
    for parent, folders, files in trees.walk(found.path, complain):
        above = os.path.relpath(parent, found.root)
        prefix = "" if above == "." else f"{above}/"
        if leave:
            folders[:] = [name for name in folders if not leave(f"{prefix}{name}", f"{parent}/{name}", True)]
            files = [name for name in files if not leave(f"{prefix}{name}", f"{parent}/{name}", False)]
        for name in folders:
            path = Path(parent, name)
            if os.path.islink(path):  # noqa: PTH114  Path's own fails for a path that is longer than the kernel takes
                yield path
            elif over:
                open_up(path, stat.S_IRWXU)
        yield from (Path(parent, name) for name in sorted(files))


def open_up(path: Path, mode: int) -> None:
    """Give the owner these rights to what a job that is over left without them."""
    with contextlib.suppress(OSError):
        before = stat.S_IMODE(path.stat().st_mode)
        if before & mode != mode:
            path.chmod(before | mode)


def mark_fetched(number: str) -> None:
    """Record that every output has arrived and was verified."""
    (folder_of(number) / "fetched").touch()
