"""Suggest commands: the command line as typed with one argument changed, so it is equally safe."""

import functools
import re
import shlex
from collections.abc import Callable, Sequence
from typing import ParamSpec

import click

from infra.errors import Change, GpujobError

TYPED = "gpujob.typed"
Given = ParamSpec("Given")
ASKING = re.compile(r"\bgpujob (up|offers|check)\b(?! --dry-run)")


def suggests(command: Callable[Given, None]) -> Callable[Given, None]:
    """Make the hints of a command's errors repeat the command line; a dry run stays a dry run."""

    @functools.wraps(command)
    def wrapped(*args: Given.args, **options: Given.kwargs) -> None:
        try:
            command(*args, **options)
        except GpujobError as error:
            if error.change:
                error.hint = retype(typed_words(click.get_current_context()), error.change)
            elif options["dry_run"] and "--dry-run" not in error.hint:
                error.hint = ASKING.sub(r"gpujob \1 --dry-run", error.hint)
            raise

    return wrapped


def typed_words(context: click.Context) -> tuple[str, ...]:
    """Return the words of the command line, without `gpujob`."""
    words: tuple[str, ...] = context.meta.get(TYPED, ())
    return words


def typed_command(context: click.Context) -> str:
    """Return the command line as typed."""
    return shlex.join(["gpujob", *typed_words(context)])


def retype_name(name: str, others: Sequence[str]) -> str:
    """Return the command line as typed for each of these names instead of another one."""
    typed = typed_words(click.get_current_context())
    return ", or: ".join(retype(typed, Change(name, other)) for other in others)


def retype(typed: Sequence[str], change: Change) -> str:
    """Return the command line with one argument changed and all others kept."""
    words = list(typed)
    if not change.word.startswith("-"):
        if change.word not in words:  # it came from a variable, or is the folder's
            after = next((at for at, word in enumerate(words) if not word.startswith("-")), 0) + 1
            return shlex.join(["gpujob", *words[:after], change.value, *words[after:]])
        return shlex.join(["gpujob", *(change.value if word == change.word else word for word in words)])
    kept: list[str] = []
    place = None
    taken = False
    for word in words:
        name, equals, _ = word.partition("=")
        if taken:
            taken = False
        elif name == change.word or name in change.instead:
            place = len(kept) if place is None else place
            taken = bool(change.value) and name == change.word and not equals
        else:
            kept.append(word)
    last = 1 if words[:1] in (["run"], ["send"]) else len(kept)  # after its script, an option would be the script's
    at = last if place is None else place
    kept[at:at] = [change.word, change.value] if change.value else [change.word]
    return shlex.join(["gpujob", *kept])
