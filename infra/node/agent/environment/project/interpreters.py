"""Choose a job's interpreter: the machine's own, or the version that its project requires, from uv."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Tuple

from ..uv import DependenciesError, find_uv, say, stream, variables
from .search import folders_above, read
from .toml import find_table, read_toml

Release = Tuple[int, ...]
PIN = re.compile(r"(?:cpython-?|python-?)?(\d+\.\d+(?:\.\d+)?)", re.ASCII)
CLAUSE = re.compile(r"(~=|===?|!=|<=|>=|<|>|\^|~|)\s*v?(\d+(?:\.\d+)*)(\.\*)?[a-z0-9.+-]*", re.ASCII)
PYTHON_REQUIRES = re.compile(r"^\s*python_requires\s*=\s*[\"']?([^\"'\n]+)", re.MULTILINE)
VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


class Asked(NamedTuple):
    """A Python version that a project asks for, and the file that says so."""

    version: str
    file: str


def choose_interpreter(root: Path, start: Path, python: str, log: BinaryIO) -> str:
    """Return `python` if the project around `start` accepts its version; otherwise one from uv.

    Raises DependenciesError if uv can provide none.
    """
    asked = find_asked(root, start, python)
    there = version_of(python) if asked else ()
    unmet = [each for each in asked if not satisfies(there, each.version)]
    if not unmet:
        return python
    wanted, has = unmet[0], ".".join(map(str, there))
    found = provide(wanted.version, log)
    if found:
        version = ".".join(map(str, version_of(found)))
        say(log, f"using Python {version}: {wanted.file} asks for {wanted.version}, and the image has {has}")
        return found
    if len(unmet) < len(asked):
        say(
            log,
            f"using Python {has}, which {asked[-1].file} allows: uv could not provide {wanted.version} ({wanted.file})",
        )
        return python
    raise DependenciesError(
        f"{wanted.file} requires Python {wanted.version}, the machine has {has}, and uv could not provide another; "
        "change the file, or choose an interpreter of the machine: gpujob run --python PATH"
    )


def find_asked(root: Path, start: Path, python: str) -> list[Asked]:
    """Return what the nearest .python-version and the nearest project ask for, in this order."""
    folders = list(folders_above(start, root))
    return [each for each in (find_pin(root, folders), find_required(root, folders, python)) if each]


def find_pin(root: Path, folders: list[Path]) -> Asked | None:
    """Return the version in the nearest .python-version; None for anything else, such as pyenv's names."""
    for path in (folder / ".python-version" for folder in folders):
        if path.is_file():
            lines = (line.partition("#")[0].strip() for line in read(path).splitlines())
            pin = PIN.fullmatch(next(filter(None, lines), ""))
            return Asked(pin[1], path.relative_to(root).as_posix()) if pin else None
    return None


def find_required(root: Path, folders: list[Path], python: str) -> Asked | None:
    """Return the version that the nearest project requires."""
    for folder in folders:
        for name, version in required_by(folder, python).items():
            if version:
                return Asked(version, (folder / name).relative_to(root).as_posix())
    return None


def required_by(folder: Path, python: str) -> dict[str, str]:
    """Return the Python version that each file in a folder requires, "" where it requires none."""
    settings = (read_toml(folder / "pyproject.toml", [python]) or {}) if (folder / "pyproject.toml").is_file() else {}
    poetry = find_table(settings, "tool", "poetry", "dependencies").get("python")
    found: dict[str, str] = {
        "pyproject.toml": str(find_table(settings, "project").get("requires-python") or poetry or "")
    }
    for name in ("setup.cfg", "setup.py"):
        match = PYTHON_REQUIRES.search(read(folder / name))
        found[name] = match[1].strip() if match else ""
    return found


def satisfies(version: Release, requirement: str) -> bool:
    """Return whether a Python version satisfies a requirement (PEP 440 or Poetry) or a pin.

    An invalid one counts as satisfied: uv or the build will report it.
    """
    return any(
        all(meets(version, clause) for clause in re.split(r"[,\s]+(?=[<>=!~^])", alternative.strip(" ,")))
        for alternative in requirement.split("||")
    )


def meets(version: Release, clause: str) -> bool:
    """Return whether a version meets one clause, such as >=3.9, ==3.12.*, ~=3.10, ^3.9, or 3.12."""
    match = CLAUSE.fullmatch(clause.strip().rstrip(","))
    if match is None:
        return True
    operator, wanted = match[1], tuple(map(int, match[2].split(".")))
    same = version[: len(wanted)] == wanted
    full = wanted + (0,) * (len(version) - len(wanted))
    compatible = {"~=": max(len(wanted) - 1, 1), "^": 1, "~": min(len(wanted), 2)}
    if operator in compatible:
        kept = compatible[operator]
        return version >= full and version[:kept] == wanted[:kept]
    if operator in ("", "==", "===", "!="):
        exact = same if match[3] or not operator else version == full
        return exact != (operator == "!=")
    return {"<=": version <= full, ">=": version >= full, "<": version < full, ">": version > full}[operator]


def version_of(python: str) -> Release:
    """Return an interpreter's version; raises DependenciesError if it does not run."""
    try:
        answer = subprocess.run([python, "-I", "-S", "-c", VERSION], stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DependenciesError(f"the interpreter {python} does not run; choose another: --python PATH") from error
    return tuple(map(int, answer.stdout.split(b".")))


def provide(requirement: str, log: BinaryIO) -> str:
    """Return an interpreter that uv finds on the machine or installs; "" if it can do neither."""
    uv, request = find_uv("python3", log), as_request(requirement)
    find = [*uv, "python", "find", "--no-project", "--system", request]
    for words in ([], [*uv, "python", "install", "--quiet", request]):
        if words and stream(words, io.BytesIO(), log.fileno(), Path.home()):
            return ""
        answer = subprocess.run(find, cwd=Path.home(), env=variables({}), capture_output=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.decode().strip()
    return ""


def as_request(requirement: str) -> str:
    """Return a requirement in uv's notation, without ^, ~ and alternatives."""
    return ",".join(clauses_of(requirement.split("||")[-1]))


def clauses_of(alternative: str) -> Iterator[str]:
    """Yield the clauses of a requirement with Poetry's operators replaced."""
    for clause in re.split(r"[,\s]+(?=[<>=!~^])", alternative.strip(" ,")):
        match = CLAUSE.fullmatch(clause)
        parts = [int(part) for part in match[2].split(".")] if match else []
        if match and match[1] == "^":
            yield f">={match[2]},<{parts[0] + 1}"
        elif match and match[1] == "~":
            yield f">={match[2]},<{parts[0]}.{parts[1] + 1}" if len(parts) > 1 else f"=={parts[0]}.*"
        else:
            yield clause
