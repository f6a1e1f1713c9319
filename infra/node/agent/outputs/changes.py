"""Find the files that a job created or changed since its upload, and requested paths elsewhere."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from .. import trees
from ..book.counts import RUNNING
from ..book.tasks import Book, is_array
from ..caches import lies_in_cache
from ..records import FREED, UnknownJobError, folder_of, is_supervised, read_json, record_of, work_of
from ..tasks.trees import is_copy, keep_log, outputs_of, reduce, tasks_of
from ..trees import stamp_of
from .asked import Found, asked_of, closed_paths, find_asked, show
from .hashing import Hashes, Key, hash_so_far
from .outside import find_left
from .settled import find_unsettled, is_settled
from .sieve import Sieve
from .told import tell

Leave = Callable[[str, str, bool], bool]


def list_outputs(number: str, *options: str) -> dict[str, Any]:
    """Return a job's record, the files and links it created or changed, and those not downloaded.

    With `--settled`, files still being written are skipped. `--output=PATH` requests a path outside the working tree, or a
    cache inside it, from now on. With `--since=TOKEN`, only the difference to the listing that had this token, if it is known.
    """
    settled = "--settled" in options
    since = next((option.partition("=")[2] for option in options if option.startswith("--since=")), "")
    more = [option.partition("=")[2] for option in options if option.startswith("--output=")]
    found = find_outputs(number, more, settled=settled)
    return {**found, **tell(folder_of(number) / "sent.json", found["outputs"], since, settled)}


def find_outputs(number: str, more: Sequence[str] = (), *, settled: bool, running: bool = False) -> dict[str, Any]:
    """Return what `list_outputs` does, in full; `more` are paths to request. Raises UnknownJobError.

    With `running`, also what the tasks of an array that run now have written so far.
    """
    folder = folder_of(number)
    if (folder / FREED).exists():
        raise UnknownJobError(
            f"the files of job {number} are no longer on the machine: they had been downloaded, and it needed the space"
        )
    asked = asked_of(folder, more)
    job = record_of(number)  # only now: a job with newly requested paths no longer counts as downloaded
    found, missing = find_asked(folder, asked)
    look = Look(folder, settled)
    sent, work = read_json(folder / "manifest.json"), work_of(folder)
    sieve = Sieve(
        sent, [each.name for each in found if not each.base], read_json(folder / "job.json").get("exclude", [])
    )
    if is_array(folder):
        sent, work = {}, outputs_of(folder)
        tasks = find_running(folder)
        look.look_below(Found(work, "", work), sent, leave_running(tasks, sieve))
        for index in sorted(tasks) if running else ():
            look.look_at_task(folder, index, sieve)
    else:
        look.look_below(Found(work, "", work), sent, sieve.leaves_out)
    if not work.is_dir() and not is_array(folder):  # of an array, no task has started here
        look.unreadable.append(".")  # the job has deleted its folder, which differs from having written nothing
    for each in found:
        if each.base:
            look.look_below(each, {}, leave_closed(each, work))
    look.hashes.save()
    left, complete = ([], True) if settled else find_left([int(number)], brief=True)
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


def find_running(folder: Path) -> set[str]:
    """Return the tasks of an array that run on this node now, by index."""
    book = Book(folder)
    records = book.read()
    running = {str(book.tasks[position]["index"]) for position, each in records.items() if each["state"] in RUNNING}
    if is_supervised(folder):
        return running
    for index in running:  # the dispatcher was killed with everything else
        reduce(work_of(folder), tasks_of(folder) / index, {})
    return set()


def leave_running(tasks: set[str], sieve: Sieve) -> Leave:
    """Return a filter for the tasks of an array that run now, and their logs.

    Until a task has ended, its tree has all of the project.
    """

    def leave(name: str, path: str, is_folder: bool) -> bool:
        task, _, below = name.partition("/")
        if not below:
            return task in tasks or task.partition(".")[0] in tasks
        return sieve.leaves_out(below, path, is_folder)

    return leave


def name_groups(groups: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Group files of the working tree by path, as a user would request them."""
    tree = os.path.realpath(outputs_of(folder))
    return [{**group, "path": show(f"{tree}/{group['path']}", folder)} for group in groups]


def stamps_of(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the stamp of each uploaded file, which stays the same until it is written to."""
    return {name: about.get("stamp") for name, about in sent.items()}


def leave_closed(found: Found, work: Path) -> Leave:
    """Return a filter for private files, the working tree, and caches that were not requested."""
    closed = {*closed_paths(), os.path.realpath(work)}
    sieve = Sieve((), [found.name] if lies_in_cache(found.name) else [], ())
    return lambda name, path, is_folder: path in closed or sieve.leaves_out(name, path, is_folder)


class Look:
    """One scan of what a job has written; files unchanged since the last scan are not read again."""

    def __init__(self, folder: Path, settled: bool) -> None:
        """Start a scan of a job's files; with `settled`, skip files still being written."""
        self.over = not is_supervised(folder)
        self.unsettled = find_unsettled(folder) if settled else None
        self.hashes = Hashes(folder / "hashes.json")
        self.entries: dict[tuple[bool, str], dict[str, Any]] = {}
        """Results, by whether the file is outside the working tree, and by name."""
        self.first: dict[tuple[bool, int, int], str] = {}
        """The first name seen for each file with several hard links, by device and inode."""
        self.unreadable: list[str] = []
        self.unsettled_names: list[str] = []

    def look_below(self, found: Found, sent: dict[str, Any], leave: Leave) -> None:
        """Describe each file at a path and below that differs from what was `sent`."""

        def complain(error: OSError) -> None:
            name = found.name_of(Path(str(error.filename)))
            if isinstance(error, FileNotFoundError):
                self.note_vanished(name)
            else:
                self.unreadable.append(name)

        outside, above = bool(found.base), f"{found.base}/" if found.base else ""
        alone = [(found.name, str(found.path))]
        for below, path in walk(found, self.over, complain, leave) if found.path.is_dir() else alone:
            name = f"{above}{below}"
            try:
                info = os.lstat(path)
                if self.unsettled is not None and not is_settled(info, self.unsettled):
                    self.unsettled_names.append(name)
                    continue
                if stat.S_ISLNK(info.st_mode):
                    entry = describe_link(path, found.root, sent.get(name, {}))
                else:
                    entry = self.describe((outside, name), path, info, sent.get(name, {}))
            except FileNotFoundError:
                self.note_vanished(name)
                continue
            except OSError:
                self.unreadable.append(name)
                continue
            if entry:
                self.entries[outside, name] = {"path": name, "outside": outside, **entry}

    def note_vanished(self, name: str) -> None:
        """Count what a running job has just deleted as unfinished: the list may not have what replaces it."""
        if self.unsettled is not None:
            self.unsettled_names.append(name)

    def look_at_task(self, folder: Path, index: str, sieve: Sieve) -> None:
        """Describe what a task of an array that runs now has written, and its log, which only grows."""
        keep_log(folder, int(index))
        around, source = tasks_of(folder), work_of(folder)

        def leave(name: str, path: str, is_folder: bool) -> bool:
            below = name.partition("/")[2]
            return (not is_folder and is_copy(f"{source}/{below}", path)) or sieve.leaves_out(below, path, is_folder)

        self.look_below(Found(around, "", around / index), {}, leave)
        name = f"{index}.log"
        with contextlib.suppress(OSError):
            size_bytes, sha256 = hash_so_far(around / name)
            entry = {"size_bytes": size_bytes, "sha256": sha256, "mode": 0o644, "link": None, "same_as": ""}
            self.entries[False, name] = {"path": name, "outside": False, **entry}

    def describe(self, key: Key, path: str, info: os.stat_result, sent: dict[str, Any]) -> dict[str, Any] | None:
        """Describe an output; None if unchanged, or not a file."""
        if not stat.S_ISREG(info.st_mode) or sent.get("stamp") == stamp_of(info):
            return None
        if self.over and not info.st_mode & stat.S_IRUSR:
            open_up(path, stat.S_IRUSR)
            info = os.lstat(path)
        outside, name = key
        first = self.first.setdefault((outside, info.st_dev, info.st_ino), name) if info.st_nlink > 1 else name
        sha256 = self.hashes.hash_of(key, path, info, (outside, first))
        if sha256 == sent.get("sha256"):
            return None
        mode, same_as = stat.S_IMODE(info.st_mode), "" if first == name else first
        return {"size_bytes": info.st_size, "sha256": sha256, "mode": mode, "link": None, "same_as": same_as}


def describe_link(path: str, root: Path, sent: dict[str, Any]) -> dict[str, Any] | None:
    """Describe a symbolic link; None if unchanged."""
    link = os.readlink(path)
    if sent.get("link") == link:
        return None
    if link.startswith(f"{root}/"):  # a link to the job's own files, wherever they will be
        link = os.path.relpath(link, Path(path).parent)
    return {"link": link, "size_bytes": 0, "sha256": "", "mode": 0o777, "same_as": ""}


def walk(
    found: Found, over: bool, complain: Callable[[OSError], None], leave: Leave | None = None
) -> Iterator[tuple[str, str]]:
    """Yield files and links below a folder, except those left out: each name below the root, and path.

    Links are not followed. Paths are text: a job may have written a hundred thousand files.
    """
    for parent, folders, files in trees.walk(found.path, complain):
        above = os.path.relpath(parent, found.root)
        prefix = "" if above == "." else f"{above}/"
        if leave:
            folders[:] = [name for name in folders if not leave(f"{prefix}{name}", f"{parent}/{name}", True)]
            files = [name for name in files if not leave(f"{prefix}{name}", f"{parent}/{name}", False)]
        for name in folders:
            path = f"{parent}/{name}"
            if os.path.islink(path):  # noqa: PTH114
                yield f"{prefix}{name}", path
            elif over:
                open_up(path, stat.S_IRWXU)
        yield from ((f"{prefix}{name}", f"{parent}/{name}") for name in sorted(files))


def open_up(path: str, mode: int) -> None:
    """Give the owner missing permissions on a finished job's files."""
    with contextlib.suppress(OSError):
        before = stat.S_IMODE(os.lstat(path).st_mode)
        if before & mode != mode:
            Path(path).chmod(before | mode)


def mark_fetched(number: str) -> None:
    """Record that every output was downloaded and verified."""
    (folder_of(number) / "fetched").touch()
    (folder_of(number) / "sent.json").unlink(missing_ok=True)
