"""Programs in Python that a node may lack: the interpreter's own, or one installed by uv into a folder of ours, once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .records import HOME, AgentError
from .uv import build_once, find_uv, say, stream

LOOK = """
import sys, importlib.util as u
print("%d.%d" % sys.version_info[:2], all(u.find_spec(name) for name in sys.argv[1:]))
"""


class Program(NamedTuple):
    """An interpreter that can run it by `-m`, and the folder of its packages; "" where it is the one that was asked."""

    python: str
    site: str


def find_program(name: str, packages: list[str], python: str, log: BinaryIO) -> Program:
    """Return what runs a program that needs these packages, whose modules are called as they are.

    Raises AgentError if it cannot be had. What is installed is for the interpreter's own version: kernels share its packages.
    """
    answer = subprocess.run([python, "-c", LOOK, *packages], stdout=subprocess.PIPE, check=False)
    version, _, has_it = answer.stdout.decode().strip().partition(" ")
    if answer.returncode:
        raise AgentError(f"the interpreter {python} does not run")
    if has_it == "True":
        return Program(python, "")
    folder = HOME / f"{name}-{version}"
    build_once(folder, log, lambda lock: install(name, packages, python, folder, log, lock))
    return Program(str(folder / "bin" / "python"), str(folder / "lib" / f"python{version}" / "site-packages"))


def install(name: str, packages: list[str], python: str, folder: Path, log: BinaryIO, lock: int) -> None:
    """Install packages into a folder of ours; raises AgentError if they cannot be had."""
    uv = find_uv(python, log)
    say(log, f"installing {name}, which this machine has not ...")
    commands = (
        [*uv, "venv", "--quiet", "--python", python, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages],
    )
    if any(stream(command, log, lock, HOME) for command in commands):
        raise AgentError(f"{name} is not on the machine, and uv could not install it, as the lines above say")
