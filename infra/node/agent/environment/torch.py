"""Keep the image's torch where a lock pins another patch release of it.

A lock pins torch, and with it gigabytes of CUDA, to what its author's computer had. The image's torch fits the machine's
driver; it is kept if it has the same minor version and satisfies what the project itself asks for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .environments import stand_ins
from .installation import Installation, attempt
from .uv import say

# Dependencies of torch that come with the torch that is kept.
OWN = re.compile(r"torch|triton|pytorch[-_]triton.*|nvidia[-_].*|cuda[-_].*")
# Built for one version of torch: also taken from the image, or resolved again for the torch that is kept.
BUILT_FOR = re.compile(r"torchvision|torchaudio|torchtext|torchdata")
PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;,]+)")
PACKAGE = re.compile(r"^name\s*=\s*[\"']([^\"']+)[\"'].*?^version\s*=\s*[\"']([^\"']+)[\"']", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^(?=\[\[packages\]\])", re.MULTILINE)


class Pinned(NamedTuple):
    """One entry of a lock."""

    name: str
    version: str
    text: str


class Chosen(NamedTuple):
    """The entries of a lock to install, and those to resolve again for the torch that is kept."""

    texts: list[str]
    anew: tuple[str, ...]


def read_lines(lines: list[str]) -> list[Pinned]:
    """Return the entries of a lock that was translated into requirements."""
    found = ((PIN.match(line), line) for line in lines)
    return [Pinned(pin[1].lower(), pin[2], line) if pin else Pinned("", "", line) for pin, line in found]


def read_pylock(text: str) -> list[Pinned]:
    """Return the entries of a pylock.toml; its header is an entry without a name."""
    found = ((PACKAGE.search(part) if part.startswith("[[packages]]") else None, part) for part in TABLE.split(text))
    return [Pinned(pin[1].lower(), pin[2], part) if pin else Pinned("", "", part) for pin, part in found]


def keep_torch(what: Installation, uv: list[str], pinned: list[Pinned]) -> Chosen:
    """Return the entries of a lock to install, without torch and its companions if the image's is kept."""
    there = {path.name.partition("-")[0]: path.name for path in stand_ins(what.site)}
    locked = [each for each in pinned if each.name == "torch"]
    ours = there.get("torch", "")[len("torch-") : -len(".dist-info")]
    same = bool(ours) and all(minor(each.version) == minor(ours) for each in locked)
    if not locked or not same or not satisfies(what, uv, "torch" + what.plan["declared"].get("torch", "")):
        return Chosen([each.text for each in pinned], ())
    versions = " or ".join(dict.fromkeys(each.version for each in locked))
    if versions != ours:
        say(what.log, f"keeping torch {ours} of the image ({what.name} has {versions})")
    texts, anew = [], []
    for each in pinned:
        if BUILT_FOR.fullmatch(each.name) and each.name not in there:
            anew.append(each.name)
        elif not OWN.fullmatch(each.name) and not BUILT_FOR.fullmatch(each.name):
            texts.append(each.text)
    return Chosen(texts, tuple(dict.fromkeys(anew)))


def minor(version: str) -> list[str]:
    """Return the first two numbers of a version."""
    return re.findall(r"\d+", version.partition("+")[0])[:2]


def satisfies(what: Installation, uv: list[str], requirement: str) -> bool:
    """Return whether the image's packages satisfy a requirement, as uv decides."""
    check = [*uv, "pip", "install", "--python", what.python, "--offline", "--dry-run", "--no-deps", requirement]
    code, report = attempt(what, check, quiet=True)
    return code == 0 and any(line.startswith(b"Would make no changes") for line in report.progress)
