"""Report files of this computer that a job names but does not have: before it starts, and after it failed."""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import show
from cli.terminal.formats import plural
from infra.errors import GpujobError
from infra.node import client
from infra.project.exclusion import Exclusion, find_exclusion

if TYPE_CHECKING:
    from infra.model import Job, Request
    from infra.project.files import Project
    from infra.ssh.connection import Connection

SHOWN = 3
LINES, END_BYTES = 100, 1 << 16  # of the end of a failed job's log
LONGEST_PATH = 4096
# Folders that exist on every machine, with other files in them.
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "opt", "proc", "run", "sbin", "srv", "sys", "tmp", "usr", "var")
ON_NODE = re.compile(r".*/\.gpujob/work/\d+/project/(.+)")
# What programs print when a file does not exist: Python, C libraries, shells, OpenCV, HDF5, NumPy, transformers.
NOT_FOUND = re.compile(
    r"no such file|FileNotFoundError|can't open|cannot open|unable to open|not found|does not exist|couldn't find"
    r"|not a local folder|not a directory",
    re.IGNORECASE,
)
QUOTED = re.compile(r"""(["'`])(.{1,1024}?)\1""")


def show_absent_arguments(project: "Project", request: "Request") -> None:
    """Report arguments and variables that name a file or folder of this computer that is not uploaded."""
    words = [*words_of(request.command), *request.env.values()]
    found = list(find_excluded(project, words))
    for each in found[:SHOWN]:
        show.say(f"not uploaded: {describe(each)}; {each.advice}")
    if len(found) > SHOWN:
        show.say(f"not uploaded: {plural(len(found) - SHOWN, 'more argument')}")


def explain_missing_file(connection: "Connection", project: "Project", job: "Job") -> None:
    """If a failed job did not find a file that exists on this computer, say why it was not uploaded."""
    if job.state != "failed":
        return
    with suppress(GpujobError):  # the job's own error is what counts
        for each in find_excluded(project, names_in(read_end(connection, job.number))):
            show.say(f"{describe(each)}: it is on this computer, but was not uploaded.\n  Upload it: {each.advice}")
            return


def describe(exclusion: Exclusion) -> str:
    """Return a path with what excludes it."""
    some = f"{plural(exclusion.left_out, 'file')} of " if exclusion.left_out else ""
    return f"{some}'{show.printable(exclusion.path)}' ({show.printable(exclusion.rule)})"


def words_of(command: Sequence[str]) -> Iterator[str]:
    """Yield the arguments of a command, of a shell command those in its text, and the values in `--x=value`."""
    words = command[1:]
    if len(command) == 3 and command[:2] == ("bash", "-c"):
        with suppress(ValueError):
            words = tuple(shlex.split(command[2]))
    for word in words:
        yield from (word, word.partition("=")[2])


def find_excluded(project: "Project", words: Iterable[str]) -> Iterator[Exclusion]:
    """Yield why each path among these words is not uploaded, each path once."""
    told = set()
    for word in filter(None, words):
        for path in places_of(project, word):
            found = find_exclusion(project, path)
            if found and found.path not in told:
                told.add(found.path)
                yield found


def places_of(project: "Project", word: str) -> Iterator[Path]:
    """Yield the path of this computer that a word may mean to a job; nothing that every machine has."""
    if "\0" in word or len(word) > LONGEST_PATH:
        return
    inside = ON_NODE.fullmatch(word)
    path = Path(inside[1] if inside else os.path.expanduser(word))  # noqa: PTH111  a word need not be a path
    folders = dict.fromkeys((project.root / project.workdir, project.root))
    named = (Path(os.path.normpath(folder / path)) for folder in folders)
    found = next(filter(os.path.lexists, named), None)
    own = project.root, Path.home()
    if found is None or any(place.is_relative_to(found) for place in own):
        return
    if any(found.is_relative_to(place) for place in own) or found.parts[1] not in SYSTEM:
        yield found


def read_end(connection: "Connection", number: int) -> str:
    """Return the last lines of a job's log; raises NodeError."""
    start, end = client.find_tail(connection, number, LINES), b""
    for chunk in client.read_log(connection, number, start, follow=False):
        end = (end + chunk)[-END_BYTES:]
    return end.decode(errors="replace")


def names_in(log: str) -> Iterator[str]:
    """Yield what may be the names of files in messages that say that a file does not exist, the last first."""
    for line in reversed([line for line in log.splitlines() if NOT_FOUND.search(line)]):
        yield from (found[2] for found in QUOTED.finditer(line))
        yield from (word.strip("\"'`:,;.()[]") for word in line.split() if "." in word or "/" in word)
