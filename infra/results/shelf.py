"""The files of a results folder: what was saved under which name, and where the next output goes.

What was verified once the job was over never changes by itself, nor does what somebody wrote here: a newer version is put beside
it. What came while the job was running is replaced by what the job has written since.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
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
WHY_LINK = "it is a link that leads out of the job's folder"
WHY_KEPT = "the copy here was verified before and is kept"
WHY_CHANGED = "the copy here was changed"
WHY_TAKEN = "something else has that name here"
WHY_NAME = "this file system does not take it"


class Shelf:
    """What a results folder holds below `files/`, as its receipt says and as it is."""

    def __init__(self, results: Results, *, overwrite: bool = False, outside: bool = False) -> None:
        self.outside = outside
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
        """What was saved, by place."""
        self.places = {} if overwrite else {**{(o.path, o.content): o.path for o in receipt.outputs}, **aside}

    def admit(self, output: Output) -> bool:
        """Tell whether an output may be written here, under whatever name; if not, it counts as withheld."""
        path = read_path(output.path)
        repository = find_repository(path)
        if repository:
            self.withhold(str(repository), WHY_REPOSITORY)
        elif output.link is not None and not leads_inside(output.link, len(path.parent.parts)):
            self.withhold(output.path, WHY_LINK)
        else:
            return True
        return False

    def withhold(self, path: str, why: str) -> None:
        """Note that one more file at a path, or below it, is not written."""
        before = self.withheld.get(path, Withheld(path, 0, why))
        self.withheld[path] = replace(before, files=before.files + 1)

    def holds(self, output: Output, *, trust: bool = False) -> bool:
        """Tell whether an output is here already; `trust` what was saved before, without reading it again."""
        place = self.places.get((output.path, output.content), str(make_inert(read_path(output.path))[0]))
        if trust and self.contents.get(place) == output.content:
            return True
        return self.look(PurePosixPath(place)) == output.content

    def look(self, place: PurePosixPath) -> str | None:
        """Return what lies at a place, as `look_at` does; None too where a link or a file is in the way."""
        with suppress(OSError), self.folder_at(place.parent) as folder:
            return look_at(place.name, folder)
        return None

    @contextmanager
    def folder_at(self, path: PurePosixPath) -> Iterator[int]:
        """Yield a folder below these files; raises OSError where it, or one above it, is a link or is not there."""
        with Descent(self.results.files) as descent:
            for part in path.parts:
                descent.enter(part)
            yield descent.folder

    @contextmanager
    def opened(self, output: Output) -> Iterator[tuple[int, str]]:
        """Yield the folder that an output was saved in, and its name there; raises OSError unless it is as it was saved."""
        place = PurePosixPath(self.place_of(output))
        with self.folder_at(place.parent) as folder:
            if look_at(place.name, folder) != output.content:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
            yield folder, place.name

    def discard(self, place: str) -> str:
        """Remove what was saved at a place, and the folders that are empty then; return its path, "" if it was changed here."""
        path, known = self.path_of(place), PurePosixPath(place)
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
        """Give a part that is whole its name: the output's own, or one beside it that harms nothing."""
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
        """Note where an output lies, and whether a later version may take its place."""
        own = self.outputs.get(output.path)
        if own is None or self.overwrite or own.content == output.content or not self.is_final(own):
            self.outputs[output.path] = output
        # A node that says of a job that was over that it runs makes nothing interim again.
        verified = self.contents.get(place) == output.content and place not in self.interim
        (self.interim.add if interim and not verified else self.interim.discard)(place)
        self.contents[place] = output.content
        self.places[output.path, output.content] = place
        known = self.renamed.pop(place, None)
        if place != output.path:
            why = known.why if known and known.path == output.path else why
            self.renamed[place] = Renamed(output.path, place, output.sha256, output.link, why)

    def confirm(self, output: Output, *, interim: bool) -> None:
        """Note that an output is here already."""
        inert, why = make_inert(read_path(output.path))
        place = self.places.get((output.path, output.content), str(inert))
        self.record(output, place, why, interim=interim)

    def is_final(self, output: Output) -> bool:
        """Tell whether what was saved of an output was verified once its job was over."""
        return self.place_of(output) not in self.interim

    def place_of(self, output: Output) -> str:
        """Return where an output was saved."""
        return self.places.get((output.path, output.content), output.path)

    def path_of(self, place: str) -> str:
        """Return the path that what lies at a place has on the node."""
        return self.renamed[place].path if place in self.renamed else place

    def move(self, part: str, path: PurePosixPath, content: str) -> tuple[str, str]:
        """Move a part to a path or beside it; return where it lies now, and why it is not the path."""
        with self.way_to(path) as (folder, way):
            name = self.choose(folder, way, path.name, content)
            why = self.explain(folder, way / path.name) if name != path.name else ""
            os.rename(part, name, src_dir_fd=self.results.parts, dst_dir_fd=folder)
        return str(way / name), why or (WHY_TAKEN if way != path.parent else "")

    @contextmanager
    def way_to(self, path: PurePosixPath) -> Iterator[tuple[int, PurePosixPath]]:
        """Yield the folder for a path, made if need be, and its own path: another if one is in the way."""
        with Descent(self.results.files) as descent:
            way = PurePosixPath()
            for part in path.parent.parts:
                name = self.choose_folder(descent.folder, way, part)
                make_folder(name, descent.folder)
                descent.enter(name)
                way /= name
            yield descent.folder, way

    def choose_folder(self, folder: int, way: PurePosixPath, part: str) -> str:
        """Return the name of a folder that is there or can be made; an interim file makes room for it."""
        for name in list_candidates(part):
            found = look_at(name, folder)
            if found in (None, FOLDER):
                return name
            if self.may_replace(str(way / name), found):
                os.unlink(name, dir_fd=folder)
                return name
        raise AssertionError

    def choose(self, folder: int, way: PurePosixPath, name: str, content: str) -> str:
        """Return the name under which a content can be put into a folder without harm to what lies there."""
        for candidate in list_candidates(name):
            place, found = str(way / candidate), look_at(candidate, folder)
            if found is None and self.is_free(place, content):
                return candidate
            if found == content or (found not in (None, FOLDER) and self.may_replace(place, found)):
                return candidate
        raise AssertionError

    def is_free(self, place: str, content: str) -> bool:
        """Tell whether a content may lie where nothing is; what was verified and removed comes back as it was."""
        return self.overwrite or place in self.interim or self.contents.get(place, content) == content

    def may_replace(self, place: str, found: str | None) -> bool:
        """Tell whether what lies at a place may be replaced: an unchanged interim version, or by request."""
        return self.overwrite or (place in self.interim and self.contents.get(place) == found)

    def explain(self, folder: int, place: PurePosixPath) -> str:
        """Return why something was put beside a place."""
        before, found = self.contents.get(str(place)), look_at(place.name, folder)
        if before is None or found == FOLDER:
            return WHY_TAKEN
        return WHY_KEPT if found in (before, None) else WHY_CHANGED


def leads_inside(link: str, depth: int) -> bool:
    """Tell whether a link that lies so many folders deep leads inside, whatever links are made later.

    It may go up only at its start, and not above the folder; nothing is ever put behind a link.
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
