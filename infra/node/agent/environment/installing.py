"""Find or install Python programs that may be missing on a node, such as JupyterLab and TensorBoard."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..records import HOME, AgentError
from .uv import build_once, find_uv, say, stream

# Where `gpujob setup` installs them.
LAID = Path("/opt/gpujob")
# Packages inherited from another environment do not count: a program looks for its data below its own interpreter's prefix.
LOOK = """
import sys, importlib.util as u
prefix = sys.prefix if sys.prefix != sys.base_prefix else ""
found = [u.find_spec(name) for name in sys.argv[1:]]
print("%d.%d" % sys.version_info[:2], all(spec and (spec.origin or "").startswith(prefix) for spec in found))
"""


class Program(NamedTuple):
    """An interpreter that runs the program with `-m`, and its package folder ("" if it is the job's)."""

    python: str
    site: str


class Wanted(NamedTuple):
    """A program: its folder, its modules, and the requirements that provide them."""

    folder: str
    modules: list[str]
    requirements: list[str]


def find_program(wanted: Wanted, pythons: list[str], log: BinaryIO) -> Program:
    """Find an interpreter for a program: one of `pythons`, that of `gpujob setup`, or our own.

    The last two must have the Python version of `pythons`, because kernels borrow their packages. Raises AgentError.
    """
    version = ""
    for python in pythons:
        version, has_it = look(python, wanted.modules)
        if has_it:
            return Program(python, "")
        if not version:
            raise AgentError(f"the interpreter {python} does not run")
    laid, ours = LAID / wanted.folder, HOME / f"{wanted.folder}-{version}"
    if look(str(laid / "bin" / "python"), wanted.modules) == (version, True):
        ours = laid
    else:
        build_once(ours, log, lambda lock: install(wanted, pythons[-1], ours, log, lock))
    return Program(str(ours / "bin" / "python"), str(ours / "lib" / f"python{version}" / "site-packages"))


def look(python: str, modules: list[str]) -> tuple[str, bool]:
    """Return an interpreter's version ("" if it does not run) and whether it has all these modules."""
    try:
        answer = subprocess.run([python, "-c", LOOK, *modules], stdout=subprocess.PIPE, check=False)
    except OSError:
        return "", False
    version, _, has_them = answer.stdout.decode().strip().partition(" ")
    return version, has_them == "True"


def install(wanted: Wanted, python: str, folder: Path, log: BinaryIO, lock: int) -> None:
    """Install a program into its folder below ~/.gpujob; raises AgentError on failure."""
    uv, name = find_uv(python, log), wanted.requirements[0]
    say(log, f"installing {name}, which is not on this machine ...")
    commands = (
        [*uv, "venv", "--quiet", "--python", python, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *wanted.requirements],
    )
    if any(stream(command, log, lock, HOME) for command in commands):
        raise AgentError(f"{name} is not installed on the machine, and uv could not install it; see the lines above")
