"""Match .gitignore patterns where git is not installed, and for gpujob's own ignore rules.

git does the matching if it is installed. Otherwise patterns are read byte by byte, as in dir.c and wildmatch.c of
https://github.com/git/git. A property test compares the two.
"""

import os
import re
import string
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from infra.git import command

BOM = b"\xef\xbb\xbf"
NEVER = b"(?!)"
# On a Mac, file names are equal in more ways than case, and `git init` decides accordingly.
FLAGS = re.DOTALL | (re.IGNORECASE if sys.platform == "darwin" else re.NOFLAG)
ALL = range(256)
CLASSES = {
    b"alnum": (string.ascii_letters + string.digits).encode(),
    b"alpha": string.ascii_letters.encode(),
    b"blank": b" \t",
    b"cntrl": bytes([*range(32), 127]),
    b"digit": string.digits.encode(),
    b"graph": bytes(range(33, 127)),
    b"lower": string.ascii_lowercase.encode(),
    b"print": bytes(range(32, 127)),
    b"punct": string.punctuation.encode(),
    b"space": b" \t\n\r",
    b"upper": string.ascii_uppercase.encode(),
    b"xdigit": string.hexdigits.encode(),
}


@dataclass(frozen=True)
class Pattern:
    """One line of a .gitignore file."""

    expression: re.Pattern[bytes]
    negated: bool
    folders_only: bool
    by_name: bool
    """Whether it is matched against the last part of a path, at any depth."""


def match(patterns: bytes, files: Iterable[str], folders: Iterable[str] = ()) -> set[str]:
    """Return the files and folders, existing or not, that a .gitignore with these patterns would ignore."""
    if not patterns.strip():
        return set()
    if command.find_program():
        return command.match(patterns, files, folders)
    parsed = parse(patterns)
    return {name for name in files if lies_ignored(name, False, parsed)} | {
        name for name in folders if lies_ignored(name, True, parsed)
    }


def lies_ignored(path: str, is_folder: bool, patterns: tuple[Pattern, ...]) -> bool:
    """Return whether a path or a folder above it is ignored."""
    parts = path.split("/")
    above = ("/".join(parts[:count]) for count in range(1, len(parts)))
    return any(is_ignored(folder, True, patterns) for folder in above) or bool(is_ignored(path, is_folder, patterns))


def is_ignored(path: str, is_folder: bool, patterns: tuple[Pattern, ...]) -> bool | None:
    """Return whether a path is ignored, given that its folders are not; None if no pattern matches.

    The last matching pattern decides.
    """
    whole = os.fsencode(path)
    name = whole.rpartition(b"/")[2]
    for pattern in reversed(patterns):
        if (is_folder or not pattern.folders_only) and pattern.expression.fullmatch(name if pattern.by_name else whole):
            return not pattern.negated
    return None


def parse(content: bytes) -> tuple[Pattern, ...]:
    """Return the patterns of a .gitignore file."""
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(BOM).split(b"\n"))
    return tuple(parse_line(trim(line.partition(b"\0")[0])) for line in lines if line and not line.startswith(b"#"))


def trim(line: bytes) -> bytes:
    """Return a line without trailing spaces, except one escaped by a backslash."""
    return re.fullmatch(rb"((?: *(?:\\.?+|[^ \\]))*?) *", line, re.DOTALL)[1]  # type: ignore[index]  # it matches any line


def parse_line(line: bytes) -> Pattern:
    """Return the pattern in a line."""
    negated = line.startswith(b"!")
    text = line.removeprefix(b"!")
    folders_only = text.endswith(b"/")
    text = text.removesuffix(b"/")
    # git compares a pattern literally up to its first special character; only the rest is a pattern.
    literal = re.match(rb"[^*?[\\]*", text)[0]  # type: ignore[index]  # it matches any line
    translated = re.escape(literal.removeprefix(b"/")) + translate(text[len(literal) :])
    return Pattern(re.compile(translated, FLAGS), negated, folders_only, by_name=b"/" not in text)


def translate(text: bytes) -> bytes:
    """Return a pattern as a regular expression."""
    result, at = b"", 0
    while at < len(text):
        byte = text[at : at + 1]
        if byte == b"*":
            end = at + len(re.match(rb"\**", text[at:])[0])  # type: ignore[index]  # there is at least one
            piece, at = translate_stars(text, at, end)
        elif byte == b"[":
            piece, at = translate_bracket(text, at + 1)
        elif byte == b"\\":
            piece, at = re.escape(text[at + 1 : at + 2]) or NEVER, at + 2
        else:
            piece, at = b"[^/]" if byte == b"?" else re.escape(byte), at + 1
        result += piece
    return result


def translate_stars(text: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return what the asterisks from `start` to `end` match, and where the text continues."""
    is_whole = (start == 0 or text[start - 1 : start] == b"/") and text[end : end + 1] in (b"", b"/")
    if end - start == 1 or not (is_whole or text[end : end + 2] == b"\\/"):
        return b"[^/]*", end
    if text[end : end + 1] == b"/":
        return b"(?:.*/)?", end + 1
    return b".*", end


def translate_bracket(text: bytes, at: int) -> tuple[bytes, int]:
    """Return what a bracket expression matches (nothing if unclosed), and where the text continues."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    chosen: set[int] = set()
    first, before = True, 0
    while first or text[at : at + 1] != b"]":
        first = False
        if at >= len(text):
            return NEVER, len(text)
        if text[at : at + 1] == b"-" and before and text[at + 1 : at + 2] not in (b"", b"]"):
            at += 2 if text[at + 1 : at + 2] == b"\\" else 1
            if at >= len(text):
                return NEVER, len(text)
            chosen.update(range(before, text[at] + 1))
            before = 0
        elif (named := re.match(rb"\[:([^]]*)\]", text[at:])) and named[1].endswith(b":"):
            if named[1][:-1] not in CLASSES:
                return NEVER, len(text)
            chosen.update(CLASSES[named[1][:-1]])
            before, at = 0, at + named.end() - 1
        else:
            at += text[at : at + 1] == b"\\"
            if at >= len(text):
                return NEVER, len(text)
            before = text[at]
            chosen.add(before)
        at += 1
    matched = set(ALL) - chosen if negated else chosen
    matched.discard(ord("/"))
    return b"[" + b"".join(b"\\x%02x" % value for value in sorted(matched)) + b"]" if matched else NEVER, at + 1
