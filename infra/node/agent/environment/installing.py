"""Programs in Python that a node may lack: the interpreter's own, or one installed by uv into a folder of ours, once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..records import HOME, AgentError
from .uv import build_once, find_uv, say, stream

# Where `gpujob setup` lays them.
LAID = Path("/opt/gpujob")
# Not what it has from an environment below: a program finds the files beside its code by the interpreter that runs it.
LOOK = """
import sys, importlib.util as u
prefix = sys.prefix if sys.prefix != sys.base_prefix else ""
found = [u.find_spec(name) for name in sys.argv[1:]]
print("%d.%d" % sys.version_info[:2], all(spec and (spec.origin or "").startswith(prefix) for spec in found))
"""


class Program(NamedTuple):
    """An interpreter that can run it by `-m`, and the folder of its packages; "" where it is the one that was asked."""

    python: str
    site: str


class Wanted(NamedTuple):
    """A program: the folder it lies in, the modules it is made of, and what to install to have them."""

    folder: str
    modules: list[str]
    requirements: list[str]


def find_program(wanted: Wanted, pythons: list[str], log: BinaryIO) -> Program:
    """Return what runs a program: one of these interpreters, what `gpujob setup` laid, or what is installed here, once.

    The last two are for the version that the interpreters have: kernels are lent their packages. Raises AgentError if it
    cannot be had.
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
    """Return an interpreter's version, "" for one that does not run, and whether it has all of these modules."""
    try:
        answer = subprocess.run([python, "-c", LOOK, *modules], stdout=subprocess.PIPE, check=False)
    except OSError:
        return "", False
    version, _, has_them = answer.stdout.decode().strip().partition(" ")
    return version, has_them == "True"


def install(wanted: Wanted, python: str, folder: Path, log: BinaryIO, lock: int) -> None:
    """Install a program into a folder of ours; raises AgentError if it cannot be had."""
    uv, name = find_uv(python, log), wanted.requirements[0]
    say(log, f"installing {name}, which this machine has not ...")
    commands = (
        [*uv, "venv", "--quiet", "--python", python, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *wanted.requirements],
    )
    if any(stream(command, log, lock, HOME) for command in commands):
        raise AgentError(f"{name} is not on the machine, and uv could not install it, as the lines above say")
