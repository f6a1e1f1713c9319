"""The files of a results folder: what was saved under which name, and where to save the next output.

Files verified after the job ended, and local modifications, are never replaced without a request: a newer version is saved under
another name. Interim files, downloaded while the job was running, are replaced by later versions.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from infra.base.folders import FOLDER, Descent, look_at, make_folder
from infra.model import Output
from infra.results.filenames import (
    WHY_REPOSITORY,
    find_repository,
    is_encodable,
    list_candidates,
    make_inert,
    make_portable,
    read_path,
)
from infra.results.folder import Results
from infra.results.receipts import Renamed, Withheld

UNNAMEABLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
WHY_LINK = "it is a link that points outside the job's folder"
WHY_KEPT = "the verified local copy was kept"
WHY_CHANGED = "the local copy was modified"
WHY_TAKEN = "the name is already in use"
WHY_NAME = "the file system does not support the name"


HashAt = Callable[[str, os.stat_result, Callable[[], str]], str]
"""Returns the hash of a file at a place, from memory or by reading it."""


def read_anew(_: str, __: os.stat_result, read: Callable[[], str]) -> str:
    """Return a file's hash by reading it."""
    return read()


class Shelf:
    """The content of a results folder below `files/`, by its receipt and on disk."""

    def __init__(
        self, results: Results, *, overwrite: bool = False, outside: bool = False, hash_of: HashAt = read_anew
    ) -> None:
        self.outside = outside
        self.hash_of = hash_of
        self.looked: tuple[tuple[str, ...], Descent | None] | None = None
        """The folder that `look` used last, open; None if it does not exist."""
        self.entered: tuple[tuple[str, ...], Descent, PurePosixPath] | None = None
        """The folder that `enter` opened last: as requested, open, and its actual path."""
        receipt = results.receipt
        self.results = results
        self.overwrite = overwrite
        self.outputs = {output.path: output for output in receipt.outputs}
        self.renamed = {each.saved_as: each for each in receipt.renamed}
        self.withheld: dict[str, Withheld] = {}
        self.interim = set(receipt.interim)
        aside = {(each.path, each.content): each.saved_as for each in receipt.renamed}
        saved = {aside.get((o.path, o.content), o.path): o.content for o in receipt.outputs}
        self.contents = {**saved, **{each.saved_as: each.content for each in receipt.renamed}}
        """Saved outputs by place."""
        self.places = {} if overwrite else {**{(o.path, o.content): o.path for o in receipt.outputs}, **aside}

    def admit(self, output: Output) -> bool:
        """Return whether an output may be written under any name; if not, record it as withheld."""
        path = read_path(output.path)
        repository = find_repository(path)
        if repository:
            self.withhold(str(repository), WHY_REPOSITORY)
        elif output.link is not None and not leads_inside(output.link, len(path.parent.parts)):
            self.withhold(output.path, WHY_LINK)
        else:
            return True
        return False

    def knows(self, output: Output, *, interim: bool) -> bool:
        """Return whether exactly this output is recorded as saved, so that it needs no confirmation."""
        if self.outputs.get(output.path) != output:
            return False
        place = self.place_of(output)
        return self.contents.get(place) == output.content and (interim or place not in self.interim)

    def withhold(self, path: str, why: str) -> None:
        """Record that another file at or below a path is not written."""
        before = self.withheld.get(path, Withheld(path, 0, why))
        self.withheld[path] = replace(before, files=before.files + 1)

    def holds(self, output: Output, *, trust: bool = False) -> bool:
        """Return whether an output is already saved; with `trust`, without reading the file again."""
        place = self.places.get((output.path, output.content))
        path = make_inert(read_path(output.path))[0] if place is None else PurePosixPath(place)
        if trust and self.contents.get(str(path)) == output.content:
            return True
        return self.look(path) == output.content

    def look(self, place: PurePosixPath) -> str | None:
        """Return what is at a place, like `look_at`; None also if a link or a file blocks the path."""
        folders = place.parts[:-1]  # several times as fast as comparing parents
        if self.looked is None or self.looked[0] != folders:
            self.looked = folders, self.open_folder(place.parent)
        descent = self.looked[1]
        if descent is None:
            return None
        with suppress(OSError):
            return look_at(place.name, descent.folder, partial(self.hash_of, str(place)))
        return None

    def open_folder(self, path: PurePosixPath) -> Descent | None:
        """Return a folder below these files, open; None if it or a parent is a link or missing."""
        descent = Descent(self.results.files)
        with suppress(OSError):
            for part in path.parts:
                descent.enter(part)
            return descent
        descent.close()
        return None

    @contextmanager
    def folder_at(self, path: PurePosixPath) -> Iterator[int]:
        """Yield a folder below these files; raises OSError if it or a parent is a link or missing."""
        descent = self.open_folder(path)
        if descent is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        with descent:
            yield descent.folder

    @contextmanager
    def opened(self, output: Output) -> Iterator[tuple[int, str]]:
        """Yield a saved output's folder and its name there; raises OSError if the output has changed."""
        place = PurePosixPath(self.place_of(output))
        with self.folder_at(place.parent) as folder:
            if look_at(place.name, folder) != output.content:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
            yield folder, place.name

    def discard(self, place: str) -> str:
        """Remove a saved output and empty parent folders; return its path, or "" if it was modified locally."""
        path, known = self.path_of(place), PurePosixPath(place)
        self.entered = None
        if self.look(known) != self.contents.get(place):
            return ""
        with suppress(OSError):
            with self.folder_at(known.parent) as folder:
                os.unlink(known.name, dir_fd=folder)
            for above in known.parents[:-1]:
                with self.folder_at(above.parent) as folder:
                    os.rmdir(above.name, dir_fd=folder)
        if path in self.outputs and self.place_of(self.outputs[path]) == place:
            del self.outputs[path]
        self.interim.discard(place)
        self.contents.pop(place, None)
        self.renamed.pop(place, None)
        return path

    def save(self, output: Output, part: str, *, interim: bool) -> None:
        """Move a complete part to the output's name, or to another one if that is in use or unsafe."""
        inert, why = make_inert(read_path(output.path))
        try:
            place, reason = self.move(part, inert, output.content)
        except OSError as error:
            if error.errno not in UNNAMEABLE:
                raise
            place, reason = self.move(part, make_portable(inert), output.content)
            why = why or WHY_NAME
        self.record(output, place, why or reason, interim=interim)

    def record(self, output: Output, place: str, why: str, *, interim: bool) -> None:
        """Record where an output is saved, and whether a later version may replace it."""
        own = self.outputs.get(output.path)
        if own is None or self.overwrite or own.content == output.content or not self.is_final(own):
            self.outputs[output.path] = output
        # Nothing becomes interim again, even if the node claims that an ended job is running.
        verified = self.contents.get(place) == output.content and place not in self.interim
        (self.interim.add if interim and not verified else self.interim.discard)(place)
        self.contents[place] = output.content
        self.places[output.path, output.content] = place
        known = self.renamed.pop(place, None)
        if place != output.path:
            why = known.why if known and known.path == output.path else why
            self.renamed[place] = Renamed(output.path, place, output.sha256, output.link, why)

    def confirm(self, output: Output, *, interim: bool) -> None:
        """Record that an output is already saved."""
        inert, why = make_inert(read_path(output.path))
        place = self.places.get((output.path, output.content), str(inert))
        self.record(output, place, why, interim=interim)

    def is_final(self, output: Output) -> bool:
        """Return whether a saved output was verified after its job ended."""
        return self.place_of(output) not in self.interim

    def place_of(self, output: Output) -> str:
        """Return the place where an output was saved."""
        return self.places.get((output.path, output.content), output.path)

    def path_of(self, place: str) -> str:
        """Return the path on the node of the output at a place."""
        return self.renamed[place].path if place in self.renamed else place

    def move(self, part: str, path: PurePosixPath, content: str) -> tuple[str, str]:
        """Move a part to a path or an alternative; return its place, and why it differs from the path."""
        self.looked = None
        folders = path.parts[:-1]
        folder, way = self.enter(folders)
        name = self.choose(folder, way, path.name, content)
        why = self.explain(folder, way / path.name) if name != path.name else ""
        os.rename(part, name, src_dir_fd=self.results.parts, dst_dir_fd=folder)
        return join(way, name), why or (WHY_TAKEN if way.parts != folders else "")

    def enter(self, folders: tuple[str, ...]) -> tuple[int, PurePosixPath]:
        """Return a folder, open until the next call and created if needed, and its path, which may differ."""
        if self.entered is None or self.entered[0] != folders:
            descent, way = Descent(self.results.files), PurePosixPath()
            for part in folders:
                name = self.choose_folder(descent.folder, way, part)
                make_folder(name, descent.folder)
                descent.enter(name)
                way /= name
            self.entered = folders, descent, way
        return self.entered[1].folder, self.entered[2]

    def choose_folder(self, folder: int, way: PurePosixPath, part: str) -> str:
        """Return the name of a folder that exists or can be created, possibly replacing an interim file."""
        for name in list_candidates(part):
            found = look_at(name, folder)
            if found in (None, FOLDER):
                return name
            if self.may_replace(str(way / name), found):
                os.unlink(name, dir_fd=folder)
                return name
        raise AssertionError

    def choose(self, folder: int, way: PurePosixPath, name: str, content: str) -> str:
        """Return a name in a folder for some content that replaces nothing of value."""
        for candidate in list_candidates(name):
            place, found = join(way, candidate), look_at(candidate, folder)
            if found is None and self.is_free(place, content):
                return candidate
            if found == content or (found not in (None, FOLDER) and self.may_replace(place, found)):
                return candidate
        raise AssertionError

    def is_free(self, place: str, content: str) -> bool:
        """Return whether content may be saved at an unused place; a verified file is only restored as it was."""
        return self.overwrite or place in self.interim or self.contents.get(place, content) == content

    def may_replace(self, place: str, found: str | None) -> bool:
        """Return whether what is at a place may be replaced: an unmodified interim file, or on request."""
        return self.overwrite or (place in self.interim and self.contents.get(place) == found)

    def explain(self, folder: int, place: PurePosixPath) -> str:
        """Return why something was saved under another name."""
        before, found = self.contents.get(str(place)), look_at(place.name, folder)
        if before is None or found == FOLDER:
            return WHY_TAKEN
        return WHY_KEPT if found in (before, None) else WHY_CHANGED


def join(way: PurePosixPath, name: str) -> str:
    """Return the path of a name in a folder as text, several times as fast as pathlib."""
    return f"{way}/{name}" if way.parts else name


def leads_inside(link: str, depth: int) -> bool:
    """Return whether a link at this depth points inside the folder, whatever links are created later.

    It may go up only at its start, and not above the folder; nothing is ever written through a link.
    """
    target = PurePosixPath(link)
    ups = next((at for at, part in enumerate(target.parts) if part != ".."), len(target.parts))
    return (
        bool(link)
        and is_encodable(link)
        and not target.is_absolute()
        and ".." not in target.parts[ups:]
        and ups <= depth
    )
