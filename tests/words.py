"""What users read: messages in the code, help of the commands, commands suggested by either or shown in the docs."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click

from cli.terminal.lines import TYPED, fold
from tests import walls
from tests.commands import walk

PARTS = ("cli", "infra", "jobs", "lesson")
"""The parts of the tree whose messages are checked."""
HOLE = "X"
"""What replaces the values in an f-string."""
BANNED = re.compile(
    r"(?i)\b("
    r"mend(s|ed)?|whoever|rehears\w+|c[oa]mes? home|not home|homecoming|takes? up|taken up|nobody|somebody|for so long|of ours"
    r"|gives? back|given back|the same words|waits? in line|dwells?|beside|typed? (it )?again|left alone|alone"
    r"|all the same|there is none|tells?(?! whether)|told|is gone|has gone|gone away|comes? back|asked again|lives|rent(s|ed)?"
    r"|lay|laid|stands?|(?<!there )is no (?!longer)|are no (?!longer)|go together|may be repeated|for as long as|the former"
    r"|contradict|minds|in words|switched (on|off)|USD an hour|USD a month|less than 0\.01|or else"
    r"|ends? it|so many|so much|lacks?|whatever is|what is left|anew|in vain|leads? out|can be had|there are(?=: )|goes on"
    r"|leave (out|off)(?= -)|for lack of|a person"
    r")\b"
    r"|[;,] else\b|\d USD\b|\bX USD\b|\bX a month\b|^let (a|it|none|plain|the)\b"
)
BANNED_INSIDE = re.compile(
    r"(?i)\b("
    r"nobody|somebody|whoever|anew|in vain|beside|lack(s|ed)?|mend(s|ed)?|meanwhile|told|goes on|(is|are) gone|a person"
    r"|(can|could|cannot) (no longer )?be had|leads? out of|cloud (is|was|cannot be) asked|ask(s|ing)? (the|its|no|any) cloud"
    r"|it is no (?!longer)\w+|of ours|what of (?=an?\b|the\b|it\b|these\b)"
    r")\b"
)
"""Phrases to avoid in docstrings and comments, too; code in backticks does not count."""
COMMENT = re.compile(r"(^|\s)# .*")
"""A comment, also in a script that a string contains."""
MOST_FIRST_LINE = 99
"""Characters of the first line of a docstring."""
COMMAND = re.compile(r"\bgpujob (?=([^\n;`]*))")
STARTS = re.compile(r"(\A|\n {2,}|[:$`] +|\bor:? |\bthen:? |&& |\()$")
ENDS = re.compile(r" {2,}|\.(?=\s|$)|[,)](?=\s|$)| (?:&&|\||>|#|or|and|then|to|with) |\.\.\.")
UNKNOWN = re.compile(rf"{HOLE}+|COMMAND|1")
"""What may replace a command: a value of an f-string, a name in help, a group in a replacement."""


class Text(NamedTuple):
    """A message and where it is."""

    where: str
    text: str


@cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a source; several checks read each."""
    return ast.parse(path.read_text())


def read_messages(root: Path, parts: tuple[str, ...] = PARTS) -> Iterator[Text]:
    """Yield the strings of more than one word in the code, except docstrings; the values of f-strings are X."""
    for name in walls.sources(root, *parts):
        yield from (Text(f"{name}:{line}", text) for line, text in read_strings(parse(root / name)))


def read_strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the strings below a node of a source, with their lines."""
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, fill(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_prose(node.value):
        yield node.lineno, node.value
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from read_strings(child)


def is_prose(text: str) -> bool:
    """Tell whether a text has several words and is no script."""
    return " " in text and not text.startswith("#!")


def fill(string: ast.JoinedStr) -> str:
    """Return an f-string with its values replaced, except one that is optional: `gpujob jobs{cluster_flag(name)}`."""
    text = ""
    for part in string.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif not re.search(r"[a-z]$", text):
            text += HOLE
    return text


def read_help(command: click.Command) -> Iterator[Text]:
    """Yield the help of a command and of all its subcommands, as a terminal of 80 columns shows it."""
    for context in walk(command, "gpujob"):
        yield Text(context.command_path, context.get_help())


def find_banned(texts: Iterator[Text], banned: re.Pattern[str] = BANNED) -> list[str]:
    """Return the texts with a phrase that is not plain English, each with the phrase."""
    return [f"{one.where}: {found[0]!r} in {one.text!r}" for one in texts if (found := banned.search(one.text))]


def read_remarks(root: Path, parts: tuple[str, ...] = PARTS) -> Iterator[Text]:
    """Yield the lines of docstrings, and the comments, without code in backticks."""
    for name in walls.sources(root, *parts):
        found = [
            (node.lineno + at, line)
            for node in ast.walk(parse(root / name))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for at, line in enumerate(node.value.value.splitlines())
        ]
        lines = enumerate((root / name).read_text().splitlines(), 1)
        found += [(at, comment[0]) for at, line in lines if (comment := COMMENT.search(line))]
        yield from (Text(f"{name}:{line}", re.sub(r"`[^`]*`", HOLE, text)) for line, text in found)


def find_long_docstrings(root: Path, parts: tuple[str, ...] = PARTS) -> list[str]:
    """Return the docstrings whose first line is too long."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        f"{name}:{node.body[0].lineno}: {len(first)} characters"
        for name in walls.sources(root, *parts)
        for node in ast.walk(parse(root / name))
        if isinstance(node, documented)
        and len(first := (ast.get_docstring(node) or "").partition("\n")[0]) > MOST_FIRST_LINE
    ]


def find_broken(command: click.Command) -> list[str]:
    """Return lines of help that are longer than 80 columns, and words and commands that a line break splits."""
    found = []
    for context in walk(command, "gpujob"):
        narrow = context.get_help()
        found += [f"{context.command_path}: {line!r} is too long" for line in narrow.splitlines() if len(line) > 80]
        wide = click.Context(context.command, info_name=context.info_name, parent=context.parent, terminal_width=1000)
        wide.max_content_width = 1000
        broken = set(wide.get_help().split()) - set(narrow.split())
        found += [f"{context.command_path}: the word {word!r} is split" for word in sorted(broken)]
        shown = read_commands(iter([Text("", wide.get_help().partition("\n")[2])]))
        found += [
            f"{context.command_path}: the command 'gpujob {one.text}' is split"
            for one in shown
            if not any(f"gpujob {one.text}" in line for line in narrow.splitlines())
        ]
    return found


def find_split(texts: Iterator[Text], width: int = 80) -> list[str]:
    """Return lines of messages that are too long for a terminal, and words and commands that a line break splits."""
    found = []
    for one in texts:
        lines = fold(one.text, width).split("\n")
        whole = {word for line in lines for word in line.split()}
        found += [f"{one.where}: the word {word!r} is split" for word in one.text.split() if word not in whole]
        found += [
            f"{one.where}: the command 'gpujob {shown.text}' is split"
            for shown in read_commands(iter([one]))
            if not any(f"gpujob {shown.text}" in line for line in lines)
        ]
        # A command that is longer than a line is left to the terminal, so that it can be copied.
        long = (line for line in lines if len(line) > width and " " in line.strip() and not TYPED.search(line))
        found += [f"{one.where}: {line!r} is too long" for line in long]
    return found


def read_commands(texts: Iterator[Text]) -> Iterator[Text]:
    """Yield the commands that texts suggest, without `gpujob`."""
    for one in texts:
        for found in COMMAND.finditer(one.text):
            words = ENDS.split(f"{found[1]} ")[0].strip(" '.:")
            if STARTS.search(one.text[: found.start()]) or is_command(words.partition(" ")[0]):
                yield Text(one.where, words)


def is_command(word: str) -> bool:
    """Return whether a word is the name of a command."""
    from cli.main import gpujob

    return word in gpujob.commands


def find_invalid(commands: Iterator[Text], group: click.Command) -> list[str]:
    """Return the commands that click does not parse, each with the reason."""
    return [f"{one.where}: gpujob {one.text}: {why}" for one in commands if (why := refuse(group, split(one.text)))]


def split(text: str) -> list[str]:
    """Return the words of a command; one with an open quote is split at spaces."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def refuse(command: click.Command, words: list[str], parent: click.Context | None = None) -> str:
    """Return why a command cannot be typed like this; "" if it can."""
    context = click.Context(command, parent=parent, **command.context_settings)
    if "--" in words:
        words = words[: words.index("--")]
    if isinstance(command, click.Group):
        context.allow_interspersed_args = False
    try:
        _, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if isinstance(command, click.Group) and rest:
        if UNKNOWN.fullmatch(rest[0]):
            return ""
        below = command.get_command(context, rest[0])
        if below is None:
            return f"no command {rest[0]!r}"
        return refuse(below, rest[1:], context)
    extra = [word for word in rest if not UNKNOWN.fullmatch(word)]  # a value may be options, or nothing
    return f"unexpected {extra}" if extra else ""


def read_pages(root: Path) -> Iterator[Text]:
    """Yield the code in the docs: blocks by lines, without comments, and spans."""
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    for page in sorted(page for page in pages if page.name != "commands.md"):
        fenced = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            fenced ^= line.startswith("```")
            where = f"{page.relative_to(root)}:{number}"
            if fenced or line.startswith("    "):
                if found := re.match(r" *(?:\$ )?(gpujob .*?)(?: +#.*)?$", line):
                    yield from (Text(where, part.strip()) for part in re.split(r"&&|;", found[1]))
            else:
                yield from (Text(where, span) for span in re.findall(r"`(gpujob [^`]*)`", line))
