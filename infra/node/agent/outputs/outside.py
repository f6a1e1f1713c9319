"""Find files that jobs wrote outside their working trees, by time: no record says who wrote a file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections import deque
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple

from ..caches import is_excluded
from ..processes import GRACE_S
from ..records import folder_of, is_supervised, numbers, read_json, work_of
from ..tasks.trees import outputs_of
from .asked import asked_of, closed_paths, find_asked, show
from .places import Place, is_local, is_tool, list_others, list_places
from .settled import find_unsettled

LOOK_S, MOST_LOOKS, MOST_SHOWN = 2.0, 300_000, 50  # the first two per place
SHARE, LEAST_WORK_S = 0.05, 0.1  # of a job's duration and at least, processor time per place in a brief scan
MOST_TEXT_BYTES, MINOR_BYTES = 100_000, 1_000_000
CODE, MOST_NAMED, MOST_NAMED_BYTES = (".py", ".ipynb", ".sh"), 1000, 4_000_000  # read to find names of files
TELLING = 5  # characters that a name needs to identify a file
EARLY_S = 0.1  # file timestamps may lag by one clock tick
NESTED = {".cache": 2, ".local": 3}  # how many path parts identify what a file belongs to; by default the first


class Span(NamedTuple):
    """When a job ran, and the inodes its processes may still write."""

    job: int
    start: float
    end: float
    writing: set[int]


def list_left() -> dict[str, Any]:
    """Return what all jobs of this machine left outside their working trees."""
    left, complete = find_left(numbers())
    return {"left": left, "complete": complete}


def find_left(jobs: list[int], brief: bool = False) -> tuple[list[dict[str, Any]], bool]:
    """Return what these jobs wrote outside their working trees unrequested, and whether all was scanned.

    Files are grouped as a user would request them; a group that several jobs may have written lists all of them. A `brief`
    scan takes no longer than befits jobs that took seconds.
    """
    spans = [span for span in map(span_of, numbers()) if span]
    places = list(list_places(jobs))
    walk = Walk(jobs, places, share_of(span for span in spans if span.job in jobs) if brief else LOOK_S)
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    namers = {job: Namer(job) for job in jobs}

    def is_named(place: Place, name: str) -> bool:
        return not is_laptops(place) or any(each.names(place.root, name) for each in namers.values())

    for place in places:
        for name, info in walk.list_files(place, partial(is_named, place)):
            owners = {place.job} if place.job else owners_of(info, spans)
            owners = {job for job in owners.intersection(jobs) if not is_unwanted(f"{place.root}/{name}", job)}
            if is_laptops(place):
                owners = {job for job in owners if namers[job].names(place.root, top_of(name))}
            if owners:
                group = groups.setdefault((place.root, top_of(name)), {"names": [], "size_bytes": 0, "jobs": set()})
                group["names"].append(name)
                group["size_bytes"] += info.st_size
                group["jobs"] |= owners
                group["temporary"] = place.temporary
    groups_found = [describe(root, group) for (root, _), group in groups.items()]
    groups_found.sort(key=lambda entry: (entry["minor"], -entry["size_bytes"]))
    return groups_found[:MOST_SHOWN], walk.complete and len(groups_found) <= MOST_SHOWN


class Walk:
    """A scan of the places jobs write to, with a time limit for each, however much is there."""

    def __init__(self, jobs: list[int], places: list[Place], work_s: float = LOOK_S) -> None:
        """Start a scan that takes `work_s` of processor time per place, and skips what was requested."""
        asked = [find_asked(folder_of(job), asked_of(folder_of(job)))[0] for job in jobs]
        folders = map(folder_of, jobs)
        trees = [os.path.realpath(tree) for each in folders for tree in (work_of(each), outputs_of(each))]
        self.others = {
            *list_others(jobs),
            *closed_paths(),
            *trees,
            *(str(each.path) for found in asked for each in found),
        }
        self.roots = {place.root for place in places}
        self.work_s = work_s
        self.complete = True

    def list_files(self, place: Place, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
        """Yield each non-empty regular file of a place, by relative name; links are not followed.

        What is directly in the place is skipped with all below it unless it `is_wanted`.
        """
        waiting, looks, deadline = deque([""]), 0, time.monotonic() + LOOK_S
        enough_s = time.process_time() + self.work_s
        while waiting:
            if looks > MOST_LOOKS or time.monotonic() > deadline or time.process_time() > enough_s:
                self.complete = False
                return
            above = waiting.popleft()  # breadth first: when time runs out, only deep files are missed
            for entry in read_folder(f"{place.root}/{above}"):
                looks += 1
                name, path = f"{above}{entry.name}", f"{place.root}/{above}{entry.name}"
                is_folder = entry.is_dir(follow_symlinks=False)
                if path in self.others or is_tool(place, name, path, is_folder):
                    continue
                if not above and not is_wanted(name):
                    continue
                if is_folder and path not in self.roots:
                    waiting.append(f"{name}/")
                elif not is_folder and entry.is_file(follow_symlinks=False):
                    info = read_info(entry)
                    if info and info.st_size and (not place.shared or info.st_uid == os.getuid()):
                        yield name, info


class Namer:
    """Check whether a job mentions a file: in its command, its output, or its code.

    Needed on the local cloud, where the temporary folder is the laptop's: other programs write to it, and it may be huge.
    """

    def __init__(self, job: int) -> None:
        """Start without having read anything."""
        self.job = job

    @cached_property
    def text(self) -> bytes:
        """What the job says, as far as it is worth reading."""
        folder = folder_of(self.job)
        job, texts = read_json(folder / "job.json"), [read_text(folder / "log")]
        names = sorted(read_json(folder / "manifest.json", {}), key=lambda name: not name.endswith(CODE))
        for name in names[:MOST_NAMED]:
            if sum(map(len, texts)) < MOST_NAMED_BYTES:
                texts.append(read_text(work_of(folder) / name))
        return b"\n".join([json.dumps([job["command"], job["env"]]).encode(), *texts])

    @cached_property
    def words(self) -> set[bytes]:
        """The plain names that follow a quote or a slash."""
        return set(re.findall(rb"[\"'/]([\w.-]+)", self.text))

    def names(self, root: str, name: str) -> bool:
        """Return whether the job mentions the file, by path or by name as a path part or quoted string."""
        text = os.fsencode(name)
        if re.fullmatch(rb"[\w.-]+", text):
            return text in self.words and (len(name) >= TELLING or os.fsencode(f"{root}/{name}") in self.text)
        as_path = rb"[\"'/]%s(?![\w.-])" % re.escape(text)
        return len(name) >= TELLING and re.search(as_path, self.text) is not None


def is_laptops(place: Place) -> bool:
    """Return whether it is a folder of the laptop, to which other programs write, too."""
    return place.shared and is_local()


def read_text(path: Path) -> bytes:
    """Return the start of a file; empty if it is missing or binary."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        text = file.read(MOST_TEXT_BYTES)
        return b"" if b"\0" in text else text
    return b""


def read_folder(path: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def read_info(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return a file's status; None if it no longer exists."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def span_of(job: int) -> Span | None:
    """Return when a job ran; None if it never started."""
    folder = folder_of(job)
    start, end = (
        read_json(folder / name, {}).get(key) for name, key in (("state.json", "started_at"), ("end.json", "ended_at"))
    )
    if start is None:
        return None
    runs = is_supervised(folder)
    return Span(
        job, start - EARLY_S, math.inf if runs or end is None else end, find_unsettled(folder) if runs else set()
    )


def share_of(spans: Iterable[Span]) -> float:
    """Return how much processor time, in seconds per place, befits a scan after these jobs."""
    return max(LEAST_WORK_S, SHARE * sum(min(span.end, time.time()) - span.start for span in spans))


def owners_of(info: os.stat_result, spans: list[Span]) -> set[int]:
    """Return the jobs that may have written a file, by its times and by who has it open."""
    holders = {span.job for span in spans if info.st_ino in span.writing}
    within = holders or {span.job for span in spans if span.start <= info.st_ctime <= span.end}
    # When a job is ended, its processes have a grace period to save files.
    ending = [span.job for span in spans if span.end < info.st_ctime <= span.end + 2 * GRACE_S]
    return within or set(ending[-1:])


def is_unwanted(path: str, job: int) -> bool:
    """Return whether the job's owner excluded a path."""
    excluded = read_json(folder_of(job) / "job.json").get("exclude", [])
    return bool(excluded) and is_excluded(show(path, folder_of(job)), excluded)


def top_of(name: str) -> str:
    """Return the leading part of a relative path that identifies what a file belongs to."""
    parts = name.split("/")
    return "/".join(parts[: NESTED.get(parts[0], 1)])


def is_hidden(name: str) -> bool:
    """Return whether a path is in a tool's hidden state folder; caches hold more than that."""
    return name.startswith(".") and top_of(name).count("/") == 0


def describe(root: str, group: dict[str, Any]) -> dict[str, Any]:
    """Describe a group to the client by its only file or the innermost common folder."""
    jobs, paths = sorted(group["jobs"]), [f"{root}/{name}" for name in group["names"]]
    return {
        "path": show(os.path.commonpath(paths), folder_of(jobs[0])),
        "files": len(paths),
        "size_bytes": group["size_bytes"],
        "jobs": jobs,
        "minor": group["temporary"] or (is_hidden(group["names"][0]) and group["size_bytes"] < MINOR_BYTES),
    }
