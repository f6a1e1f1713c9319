"""The arguments of `run` and `send`: options before the script are gpujob's, all after it its own."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import click

from cli.options.context import here
from cli.options.declared import SplitCommand
from cli.terminal import show
from infra.errors import UsageError

SCRIPTS = (".py", ".sh", ".ipynb")
TYPO = 0.8  # how alike two names are, from 0 to 1, of which one is a misspelling of the other
MOST_SOURCES, MOST_BYTES = 50, 1 << 20


class RunCommand(SplitCommand):
    """A command that explains options in the wrong place; `context.meta["typed"]` has all before `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; raises UsageError for an option of the script before the script."""
        typed = args[: args.index("--")] if "--" in args else list(args)
        ctx.meta["typed"] = tuple(typed)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            at = next((at for at, word in enumerate(typed) if Path(word).suffix in SCRIPTS), None)
            if at is None:
                raise
            near = error.possibilities[0] if error.possibilities else ""
            meant = f" (did you mean {near}?)" if near else ""
            after = join(self, put_after(options_of(self), args, at))
            hint = f"options of the script go after it: {after}"
            if get_close_matches(error.option_name, [near], cutoff=TYPO):
                hint = f"{join(self, respell(args, error.option_name, near))}; or, for an option of the script: {after}"
            raise UsageError(f"gpujob {self.name} has no option {error.option_name}{meant}", hint) from error


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by name."""
    return {name: each for each in command.params if isinstance(each, click.Option) for name in each.opts}


def takes_value(option: click.Option, word: str) -> bool:
    """Return whether the value of an option is the next argument."""
    return not option.is_flag and "=" not in word


def put_after(options: Mapping[str, click.Option], words: Sequence[str], at: int) -> list[str]:
    """Return the arguments with unknown options, and what follows each, after the script at this index."""
    kept: list[str] = []
    moved: list[str] = []
    target, value = kept, False
    for word in words[:at]:
        if not value and word.startswith("-"):
            own = options.get(word.partition("=")[0])
            target, value = (kept, takes_value(own, word)) if own else (moved, False)
        else:
            value = False
        target.append(word)
    return [*kept, words[at], *moved, *words[at + 1 :]]


def join(command: click.Command, words: Iterable[str]) -> str:
    """Return the command to type."""
    return shlex.join(["gpujob", str(command.name), *words])


def respell(words: Sequence[str], wrong: str, right: str) -> list[str]:
    """Return the arguments with the first occurrence of an option's name replaced."""
    at = next((at for at, word in enumerate(words) if word.partition("=")[0] == wrong), None)
    return [f"{right}{word.removeprefix(wrong)}" if place == at else word for place, word in enumerate(words)]


def warn_of_misplaced(context: click.Context) -> None:
    """Warn about options of run that come after the script, unless its source has options of that name."""
    script, args, typed = context.params["script"], context.params["args"], context.meta["typed"]
    options = {name: one for name, one in options_of(context.command).items() if name.startswith("--")}
    named = {word.partition("=")[0]: at for at, word in reversed([*enumerate(args)])}
    candidates = {flag: at for flag, at in named.items() if flag in options}
    if not candidates:
        return
    sources = read_sources([script, *args])
    for flag, at in candidates.items():
        if mentions(sources, flag):
            continue
        end = at + 1 + takes_value(options[flag], args[at])
        front = typed[: len(typed) - len(args) - 1]
        instead = join(context.command, [*front, *args[at:end], script, *args[:at], *args[end:]])
        show.say(f"warning: {flag} is passed to the script, since it comes after it. For gpujob: {instead}")


def read_sources(words: Iterable[str]) -> str:
    """Return the text of the first of these words that is a script, with the Python files in its folder."""
    script = next((path for word in words if Path(word).suffix in SCRIPTS and (path := here() / word).is_file()), None)
    if script is None:
        return ""
    near = (path for path in sorted(script.parent.glob("*.py")) if path != script)
    files = [script, *islice(near, MOST_SOURCES)]
    return "\n".join(path.read_bytes()[:MOST_BYTES].decode(errors="replace") for path in files if path.is_file())


def mentions(source: str, flag: str) -> bool:
    """Return whether a program may have this option: as `--name`, or a parameter `name: int`."""
    name = re.escape(flag.removeprefix("--").replace("-", "_"))
    return bool(re.search(rf"{re.escape(flag)}\b|\b{name}\s*:", source))
