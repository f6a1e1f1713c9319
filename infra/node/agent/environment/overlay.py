"""Give each job its own empty environment on top of its interpreter's, for packages that it installs.

Created by hand in milliseconds, where venv and ensurepip take seconds: a pyvenv.cfg, links to the interpreter, a .pth
file that adds the packages below, and copies of the scripts below with a shebang for this environment's interpreter.
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

from ..records import read_json, write_json
from ..trees import stamp_of
from .uv import DependenciesError

ENVIRONMENT = "environment"  # name of the folder in a job's folder
USER = "user"  # subfolder that other interpreters use as their user site (PYTHONUSERBASE)
# Find the interpreter behind a link or an environment, and pip: its own, or the wheel that CPython bundles for ensurepip.
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
MOST_KNOWN = 20
SCRIPT_BYTES = 4096
# Shebang lines as pip writes them; the second form is for long paths and paths with spaces.
FIRST_LINE = re.compile(rb"#![^\n]*python[^\n]*\n|#!/bin/sh\n'''exec' [^\n]*python[^\n]*\n' '''\n")
PROGRAM = (b"sys.exit(", b"__main__")  # as installers write it, or as a package that brings its own, such as deepspeed
LONGEST = 120
# Without this, uv would find the interpreter below and install there.
UV = """#!/bin/sh
for word; do [ "$word" != --system ] || export UV_PYTHON="${{UV_PYTHON:-{python}}}"; done
exec "{uv}" "$@"
"""
# torchrun exits with 1 and prints 30 lines, whichever process failed and however.
TORCHRUN = b"""import os, signal, sys, time
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main
noted_s = 0.0
def note(*_):  # which node failed first is not known later: torchrun ends its other processes first
    global noted_s
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended and ended.si_status and (not noted_s or time.monotonic() - noted_s > 60):
            noted_s = time.monotonic()
            code = ended.si_status + (0 if ended.si_code == os.CLD_EXITED else 128)
            with open(os.environ["GPUJOB_FAILURE"], "r+b", buffering=0) as file:  # reserved: the disk may be full
                file.write(("%r %d" % (noted_s, code)).encode().ljust(64))
    except OSError:
        pass
if "GPUJOB_FAILURE" in os.environ:
    signal.signal(signal.SIGCHLD, note)
try:
    sys.exit(main())
except ChildFailedError as error:
    rank, failure = error.get_first_failure()
    code = failure.exitcode
    how = f"exit {code}" if code >= 0 else failure.signal_name()
    print(f"gpujob: rank {rank} failed first ({how})", file=sys.stderr)
    sys.exit(code if code >= 0 else 128 - code)
except SignalException as error:
    sys.exit(128 + error.sigval)
"""
PIP = b"import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


class Below(NamedTuple):
    """The environment below: the real interpreter, its version, and its package and script folders."""

    real: str
    version: str
    sites: list[str]
    scripts: list[str]


def make_environment(folder: Path, python: str, base_python: str, known: Path | None = None) -> str:
    """Create an empty environment on top of an interpreter's own; `known` remembers interpreters.

    That one may itself be on top of the base's. Returns the new interpreter; raises DependenciesError.
    """
    below = recall_below(python, known)
    scripts = below.scripts + ([] if python == base_python else recall_below(base_python, known).scripts)
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


def site_of(own: str) -> Path:
    """Return the folder of a job's own packages."""
    return next(Path(own).parent.parent.glob("lib/python*/site-packages"))


def recall_below(python: str, known: Path | None) -> Below:
    """Return what is known of an interpreter, starting it only if that may have changed."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        entry = read_json(known)[python] if known else {}
        if entry["stamps"] == stamps_of(python, entry["below"][2]):
            return Below(*entry["below"])
    below = look_below(python)
    if known:
        with contextlib.suppress(OSError, ValueError, TypeError):
            before = list(read_json(known, {}).items())[1 - MOST_KNOWN :]
            write_json(known, {**dict(before), python: {"below": below, "stamps": stamps_of(python, below.sites)}})
    return below


def stamps_of(python: str, sites: list[str]) -> list[list[int] | None]:
    """Return what changes if an interpreter is replaced, or a package is added to it or removed."""
    stamps: list[list[int] | None] = []
    for path in (python, str(Path(python).parent.parent / "pyvenv.cfg"), *sites):
        try:
            stamps.append(stamp_of(os.stat(path)))  # noqa: PTH116
        except OSError:
            stamps.append(None)
    return stamps


def look_below(python: str) -> Below:
    """Query an interpreter."""
    try:
        answer = subprocess.run([python, "-E", "-c", LOOK], stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DependenciesError(f"the interpreter {python} does not run; choose another: --python PATH") from error
    return Below(*json.loads(answer.stdout))


def lead_to(path: str) -> str:
    """Return the .pth line that adds a package folder (with its own .pth files) or a wheel."""
    return f"{path}\n" if path.endswith(".whl") else f"import site; site.addsitedir({path!r})\n"


def add_user_sites(user: Path) -> None:
    """Make other interpreters started by the job still find packages of `pip install --user`."""
    for site in Path.home().glob(".local/lib/python*/site-packages"):
        own = user / "lib" / site.parent.name / "site-packages"
        own.mkdir(parents=True)
        (own / "zz_user.pth").write_text(lead_to(str(site)))


def add_scripts(programs: Path, scripts: Path, line: bytes) -> None:
    """Make Python commands (torchrun, pip) run in this environment instead of where they were installed."""
    found = {"pip": PIP, "pip3": PIP}
    with contextlib.suppress(OSError):
        for entry in os.scandir(scripts):
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat().st_size <= SCRIPT_BYTES:
                    text = Path(entry.path).read_bytes()
                    first = FIRST_LINE.match(text)
                    if first and any(word in text for word in PROGRAM):
                        found[entry.name] = text[first.end() :]
    if "torchrun" in found:
        found["torchrun"] = TORCHRUN
    for name, rest in found.items():
        path = programs / name
        if not path.exists():
            path.write_bytes(line + rest)
            path.chmod(0o755)


def add_uv(programs: Path, scripts: list[str]) -> None:
    """Make `uv pip --system` install into this environment."""
    uv = shutil.which("uv", path=os.pathsep.join([*scripts, os.environ.get("PATH", os.defpath)]))
    if uv:
        (programs / "uv").write_text(UV.format(python=programs / "python", uv=uv))
        (programs / "uv").chmod(0o755)


def first_line(python: str) -> bytes:
    """Return a script's first lines for this interpreter; kernels limit shebangs in length and spaces."""
    if " " in python or len(python) > LONGEST:
        return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n".encode()
    return f"#!{python}\n".encode()


def variables(own: str) -> dict[str, str]:
    """Return variables that keep installers inside the environment of this interpreter."""
    folder = Path(own).parent.parent
    return {
        "VIRTUAL_ENV": str(folder),
        "PYTHONUSERBASE": str(folder / USER),
        "PIP_USER": "0",
        "UV_LINK_MODE": "copy",  # not hard links: writing to one environment would write to all
        "PIP_REQUIRE_VIRTUALENV": "1",  # refuses another interpreter's pip, called by its path
    }
