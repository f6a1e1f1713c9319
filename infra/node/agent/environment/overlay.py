"""A job's own environment: an empty one on top of what the job runs with, so that whatever it installs is its own.

Made by hand in a few milliseconds, where venv and ensurepip take seconds: a pyvenv.cfg, links to the interpreter, a .pth file
that leads on to the packages below, and the commands below with a first line that names this environment's interpreter.
https://docs.python.org/3/library/site.html, https://peps.python.org/pep-0405/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from .uv import DependenciesError

ENVIRONMENT = "environment"  # in a job's folder
USER = "user"  # in the environment: what other interpreters take for the folder of the user's own packages
# The interpreter behind a link or an environment, and pip: its own, or the wheel that every CPython has for its environments.
LOOK = """
import glob, importlib.util, json, os, site, sys, sysconfig
inner = sys.prefix != sys.base_prefix
real = os.path.realpath(getattr(sys, "_base_executable", sys.executable) if inner else sys.executable)
sites = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
if not importlib.util.find_spec("pip"):
    sites += glob.glob(os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled", "pip-*.whl"))
scripts = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
print(json.dumps([real, "%d.%d" % sys.version_info[:2], sites, scripts]))
"""
SCRIPT_BYTES = 4096
# As pip writes it; the second where the path is long or has a space in it.
FIRST_LINE = re.compile(rb"#![^\n]*python[^\n]*\n|#!/bin/sh\n'''exec' [^\n]*python[^\n]*\n' '''\n")
LONGEST = 120
# uv would find the interpreter below by itself, and install there.
UV = """#!/bin/sh
for word; do [ "$word" != --system ] || export UV_PYTHON="${{UV_PYTHON:-{python}}}"; done
exec "{uv}" "$@"
"""
PIP = b"import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


class Below(NamedTuple):
    """What an environment lies on: the real interpreter, its version, and the folders of its packages and commands."""

    real: str
    version: str
    sites: list[str]
    scripts: list[str]


def make_environment(folder: Path, python: str, base_python: str) -> str:
    """Make an empty environment on top of an interpreter's, which may itself be one on top of the base's.

    Returns its own interpreter; raises DependenciesError for an interpreter that does not run.
    """
    below = look_below(python)
    scripts = below.scripts + ([] if python == base_python else look_below(base_python).scripts)
    programs, own = folder / "bin", folder / "bin" / "python"
    site = folder / "lib" / f"python{below.version}" / "site-packages"
    site.mkdir(parents=True)
    programs.mkdir()
    (folder / "lib64").symlink_to("lib")
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(below.real).parent}\ninclude-system-site-packages = false\nversion = {below.version}\n"
    )
    own.symlink_to(below.real)
    for name in ("python3", f"python{below.version}"):
        (programs / name).symlink_to("python")
    (site / "zz_below.pth").write_text("".join(map(lead_to, below.sites)))
    add_user_sites(folder / USER)
    add_uv(programs, scripts)
    for commands in dict.fromkeys(scripts):
        add_scripts(programs, Path(commands), first_line(str(own)))
    return str(own)


def look_below(python: str) -> Below:
    """Ask an interpreter what it is."""
    try:
        answer = subprocess.run([python, "-E", "-c", LOOK], stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DependenciesError(f"the interpreter {python} does not run; --python names another") from error
    return Below(*json.loads(answer.stdout))


def lead_to(path: str) -> str:
    """Return the line of a .pth file that adds a folder of packages, with its own .pth files, or a wheel."""
    return f"{path}\n" if path.endswith(".whl") else f"import site; site.addsitedir({path!r})\n"


def add_user_sites(user: Path) -> None:
    """Let programs of other interpreters, run by the job, still find what the user installed for them (pip install --user)."""
    for site in Path.home().glob(".local/lib/python*/site-packages"):
        own = user / "lib" / site.parent.name / "site-packages"
        own.mkdir(parents=True)
        (own / "zz_user.pth").write_text(lead_to(str(site)))


def add_scripts(programs: Path, scripts: Path, line: bytes) -> None:
    """Let commands in Python, torchrun and pip above all, run in this environment instead of the one they were installed in."""
    found = {"pip": PIP, "pip3": PIP}
    with contextlib.suppress(OSError):
        for entry in os.scandir(scripts):
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat().st_size <= SCRIPT_BYTES:
                    text = Path(entry.path).read_bytes()
                    first = FIRST_LINE.match(text)
                    if first and b"sys.exit(" in text:
                        found[entry.name] = text[first.end() :]
    for name, rest in found.items():
        path = programs / name
        if not path.exists():
            path.write_bytes(line + rest)
            path.chmod(0o755)


def add_uv(programs: Path, scripts: list[str]) -> None:
    """Let `uv pip --system` mean this environment, too."""
    uv = shutil.which("uv", path=os.pathsep.join([*scripts, os.environ.get("PATH", os.defpath)]))
    if uv:
        (programs / "uv").write_text(UV.format(python=programs / "python", uv=uv))
        (programs / "uv").chmod(0o755)


def first_line(python: str) -> bytes:
    """Return the first line of a script that this interpreter runs; the kernel takes no space in it, and not any length."""
    if " " in python or len(python) > LONGEST:
        return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n".encode()
    return f"#!{python}\n".encode()


def variables(own: str) -> dict[str, str]:
    """Return what keeps installers inside the environment of this interpreter, and away from what is below it."""
    folder = Path(own).parent.parent
    return {
        "VIRTUAL_ENV": str(folder),
        "PYTHONUSERBASE": str(folder / USER),
        "PIP_USER": "0",
        "UV_LINK_MODE": "copy",  # not hard links: to write into one environment would be to write into all
        "PIP_REQUIRE_VIRTUALENV": "1",  # refuses the pip of another interpreter, called by its path
    }
