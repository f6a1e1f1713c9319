"""Suggested commands: what was typed with one word changed, so that it is as safe as what was typed."""

import functools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from infra.errors import Change, GpujobError

ASKING = re.compile(r"\bgpujob (up|offers|check)\b(?! --dry-run)")


def suggests(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let the hints of a command's errors repeat what was typed; what was a dry run stays one."""

    @functools.wraps(command)
    def wrapped(*args: Any, dry_run: bool, **options: Any) -> Any:
        try:
            return command(*args, dry_run=dry_run, **options)
        except GpujobError as error:
            if error.change:
                error.hint = retype(sys.argv[1:], error.change)
            elif dry_run and "--dry-run" not in error.hint:
                error.hint = ASKING.sub(r"gpujob \1 --dry-run", error.hint)
            raise

    return wrapped


def retype(typed: Sequence[str], change: Change) -> str:
    """Return the command that was typed with one of its words changed, all others as they were."""
    words = list(typed)
    if not change.word.startswith("-"):
        if change.word not in words:  # it came from a variable
            return shlex.join(["gpujob", *words[:1], change.value, *words[1:]])
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
    at = len(kept) if place is None else place
    kept[at:at] = [change.word, change.value] if change.value else [change.word]
    return shlex.join(["gpujob", *kept])
