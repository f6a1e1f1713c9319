"""Read requirements files and all that they include as one list, without the project's own folders."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from infra.dependencies.credentials import redact_urls
from infra.dependencies.sources import Sources, join
from infra.errors import UsageError

ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz")
OPTION = re.compile(r"(--[A-Za-z][\w-]*|-[A-Za-z])(?:\s*=\s*|\s+)?(.*)", re.DOTALL)
LONG = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "-f": "--find-links",
}
KEPT = ("--index-url", "--extra-index-url", "--find-links", "--no-index", "--no-binary", "--only-binary")
# Options of pip that are options of uv's command line, not of its requirements files.
TRANSLATED = {
    "--pre": "--prerelease=allow",
    "--require-hashes": "--require-hashes",
    "--trusted-host": "--allow-insecure-host",
}
# These change how pip works, not what it installs.
IGNORED = ("--prefer-binary", "--use-feature", "--use-pep517", "--no-use-pep517", "--no-use-wheel", "--use-wheel")
FROM_ELSEWHERE = re.compile(r"\s@\s+file:///")
EXTRAS = re.compile(r"(.*?)(?:\[([\w\s,.-]*)\])?$")
OF_DEBIAN = re.compile(r"pkg[-_]resources\s*==\s*0\.0\.0\b")  # pip freeze on Debian lists it; no index has it


@dataclass
class Flat:
    """The content of a requirements file and all that it includes, in order."""

    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    """Local wheels and the like."""
    projects: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """Required folders of the project, each with the extras it is required with."""


@dataclass(frozen=True)
class Line:
    """One line of a requirements file, and where it is."""

    text: str
    file: str
    number: int
    folder: str

    def refuse(self, what: str, hint: str = "fix the line, or run with --no-deps") -> UsageError:
        """Return the error that names this line."""
        return UsageError(f"{self.file}, line {self.number}: {redact_urls(what)}", hint)


def read_requirements(sources: Sources, name: str) -> Flat:
    """Return the content of a requirements file; raises UsageError, naming the line, if it is invalid."""
    flat = Flat()
    add_file(sources, name, flat, constraint=False, within=())
    return flat


def read_lines(sources: Sources, lines: list[str], file: str, folder: str) -> Flat:
    """Return the content of requirement lines from another file, such as a list in a setup.py."""
    flat = Flat()
    for number, text in split_lines("\n".join(lines)):
        add_line(sources, Line(text, file, number, folder), flat, constraint=False, within=())
    return flat


def add_file(sources: Sources, name: str, flat: Flat, *, constraint: bool, within: tuple[str, ...]) -> None:
    """Add what a file says; a file that includes itself is read once."""
    if name in within:
        return
    folder = join(name, "..")
    for number, text in split_lines(sources.read(name)):
        add_line(sources, Line(text, name, number, folder), flat, constraint=constraint, within=(*within, name))


def split_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, continued lines joined, without comments and empty lines."""
    held, start = "", 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        start = start or number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            held += raw[:-1] + " "
            continue
        line = re.sub(r"(^|\s+)#.*$", "", held + raw).strip()
        if line:
            yield start, line
        held, start = "", 0


def add_line(sources: Sources, line: Line, flat: Flat, *, constraint: bool, within: tuple[str, ...]) -> None:
    """Add what one line says."""
    if not line.text.startswith("-"):
        add_requirement(sources, line, line.text, flat, constraint=constraint)
        return
    found = OPTION.fullmatch(line.text)
    option, value = (LONG.get(found[1], found[1]), found[2].strip()) if found else ("", "")
    if option in ("--requirement", "--constraint"):
        include(sources, line, value, flat, constraint=constraint or option == "--constraint", within=within)
    elif option == "--editable":
        add_requirement(sources, line, value, flat, constraint=constraint)
    elif option == "--find-links" and not is_url(value):
        flat.lines.append(f"--find-links {find_path(sources, line, value)}")
    elif option in KEPT:
        flat.lines.append(f"{option} {value}".strip())
    elif option in TRANSLATED:
        flat.options.append("=".join(filter(None, (TRANSLATED[option], value))))
    elif option not in IGNORED:
        raise line.refuse(f"unknown option {found[1] if found else line.text}")


def include(sources: Sources, line: Line, value: str, flat: Flat, *, constraint: bool, within: tuple[str, ...]) -> None:
    """Add what another file says; raises UsageError if it is not uploaded."""
    value = unquote_word(value)
    if is_url(value):
        (flat.constraints if constraint else flat.lines).append(f"{'-c' if constraint else '-r'} {value}")
        return
    add_file(sources, find_file(sources, line, value), flat, constraint=constraint, within=within)


def find_file(sources: Sources, line: Line, value: str) -> str:
    """Return the project's file that a line names, from its file's folder or from the project's root."""
    for name in (join(line.folder, value), join(".", value)):
        if sources.has(name):
            return name
    there = (sources.root / line.folder / value).exists()
    what = f"{value} is not uploaded: it is ignored by git or outside the project" if there else f"no file {value}"
    raise line.refuse(what)


def find_path(sources: Sources, line: Line, value: str) -> str:
    """Return the project's file or folder that a line names; raises UsageError if there is none."""
    names = (join(line.folder, value), join(".", value))
    return next((name for name in names if sources.has_folder(name)), "") or find_file(sources, line, value)


def add_requirement(sources: Sources, line: Line, text: str, flat: Flat, *, constraint: bool) -> None:
    """Add a requirement: a name, a URL, an archive, or a folder of the project."""
    if FROM_ELSEWHERE.search(text) and not sources.has(urlsplit(text.split()[-1]).path.lstrip("/")):
        name = text.split()[0]
        raise line.refuse(
            f"{name} comes from a file of another computer", f"write {name}, or: pip list --format=freeze"
        )
    bare, _, rest = text.partition(" --")
    bare = unquote_word(bare.strip())
    if path := path_of(bare):
        add_local(sources, line, path, flat)
        return
    if not is_url(bare):
        try:
            Requirement(re.sub(r"\$\{\w+\}", "x", bare))
        except InvalidRequirement as error:
            raise line.refuse(f"'{bare}' is not a requirement ({str(error).splitlines()[0].rstrip('.')})") from error
    if not OF_DEBIAN.match(bare):
        (flat.constraints if constraint else flat.lines).append(f"{bare} --{rest}" if rest else bare)


def add_local(sources: Sources, line: Line, path: str, flat: Flat) -> None:
    """Add an archive or a folder of the project."""
    marked, _, marker = path.partition(";")
    found = EXTRAS.fullmatch(marked.strip())
    name = find_path(sources, line, found[1] if found else marked)
    if not sources.has(name):
        if not any(sources.has(join(name, each)) for each in ("pyproject.toml", "setup.py", "setup.cfg")):
            raise line.refuse(f"{name} has neither a pyproject.toml nor a setup.py")
        extras = tuple(word.strip() for word in ((found and found[2]) or "").split(",") if word.strip())
        flat.projects.append((name, extras))
        return
    flat.archives.append(name)
    flat.lines.append(f"./{name}" + (f" ; {marker.strip()}" if marker else ""))


def path_of(text: str) -> str:
    """Return the local path in a requirement: ".", "./x", "x.whl", "file:x", "name @ file:x"; "" if none."""
    found = re.fullmatch(r"(?:[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*)?file:(.*)", text)
    if found:
        return unquote(found[1])
    if is_url(text) or re.search(r"\s@\s|^[\w.-]+\s*@", text):
        return ""
    word = re.split(r"[\s;]", text)[0]
    return text if text.startswith((".", "/", "~")) or "/" in word or word.endswith(ARCHIVES) else ""


def is_url(text: str) -> bool:
    """Return whether a text begins with a scheme such as https: or git+ssh:."""
    return bool(re.match(r"[A-Za-z][\w+.-]*://", text) or text.startswith("git+"))


def unquote_word(text: str) -> str:
    """Return a value without the quotes around it."""
    try:
        return shlex.split(text)[0] if text[:1] in ("'", '"') else text
    except ValueError:
        return text
