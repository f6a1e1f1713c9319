"""Report which project files are not uploaded, and how to upload them."""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import show
from cli.terminal.formats import plural
from infra.errors import UsageError
from infra.project.exclusion import Exclusion, find_exclusion
from infra.project.withheld import is_news

if TYPE_CHECKING:
    from infra.model import Request
    from infra.project.files import Project

SHOWN, SHOWN_ARGUMENTS = 5, 3
# Folders that exist on every machine, with other files in them.
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib64", "opt", "proc", "run", "sbin", "srv", "sys", "tmp", "usr", "var")
ON_NODE = re.compile(r".*/\.gpujob/work/\d+/project/(.+)")
HOME_ON_NODE = re.compile(r"(?:/home/[^/]+|/root|.*/gpujob/local/hosts/[^/]+/home)/(?!\.gpujob/)(.+)")
LONGEST_PATH = 4096


def show_withheld(project: "Project") -> None:
    """Report files that are not uploaded, why, and how to upload them, if this has changed."""
    if not is_news(project):
        return
    for reason in dict.fromkeys(each.reason for each in project.withheld):
        withheld = [each for each in project.withheld if each.reason == reason]
        names = ", ".join(repr(each.path) for each in withheld[:SHOWN])
        more = f" and {len(withheld) - SHOWN} more" if len(withheld) > SHOWN else ""
        show.say(f"not uploaded ({reason}): {names}{more}; {withheld[0].advice}")


def explain_absence(project: "Project", script: str, path: str) -> UsageError:
    """Return an error for a script that would not be uploaded, with the fix."""
    found = find_exclusion(project, project.root / path)
    rule, advice = (found.rule, found.advice) if found else ("ignored", "")
    return UsageError(f"'{script}' would not be uploaded: {rule}", advice)


def show_absent_arguments(project: "Project", request: "Request") -> None:
    """Report arguments and variables that name a file or folder of this computer that is not uploaded."""
    words = [*words_of(request.command), *request.env.values()]
    found = list(find_excluded(project, words))
    for each in found[:SHOWN_ARGUMENTS]:
        show.say(f"not uploaded: {describe(each)}; {each.advice}")
    if len(found) > SHOWN_ARGUMENTS:
        show.say(f"not uploaded: {plural(len(found) - SHOWN_ARGUMENTS, 'more argument')}")


def words_of(command: Sequence[str]) -> Iterator[str]:
    """Yield a command's arguments, those inside a shell command, and the values in `--x=value`."""
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


def describe(exclusion: Exclusion) -> str:
    """Return a path with what excludes it."""
    some = f"{plural(exclusion.left_out, 'file')} of " if exclusion.left_out else ""
    return f"{some}'{show.printable(exclusion.path)}' ({show.printable(exclusion.rule)})"


def places_of(project: "Project", word: str) -> Iterator[Path]:
    """Yield the path of this computer that a word may mean to a job; nothing that every machine has."""
    if "\0" in word or len(word) > LONGEST_PATH:
        return
    inside = ON_NODE.fullmatch(word)
    path = Path(inside[1] if inside else os.path.expanduser(word))  # noqa: PTH111  a word need not be a path
    folders = dict.fromkeys((project.root / project.workdir, project.root))
    named = [Path(os.path.normpath(folder / path)) for folder in folders]
    if at_home := HOME_ON_NODE.fullmatch(word):  # what a program calls ~
        named.append(Path(os.path.normpath(Path.home() / at_home[1])))
    found = next(filter(os.path.lexists, named), None)
    own = project.root, Path.home()
    if found is None or any(place.is_relative_to(found) for place in own):
        return
    if any(found.is_relative_to(place) for place in own) or found.parts[1] not in SYSTEM:
        yield found
