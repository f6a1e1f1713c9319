"""An environment on top of a base interpreter: it reuses the base's packages, uv adds the rest.

uv only sees an environment's own packages and would download the base's again, above all the image's torch. So a new
environment gets a stand-in for each package of the base (name, version and requirements, no code) before uv installs:
those that satisfy a requirement stay, any other is replaced by a package in the environment. Then the stand-ins are
removed. Python finds the base's packages after the environment's through a .pth file: for a base that is an environment
itself, as in AWS's images, "system site packages" would be those of the interpreter below both.

Jobs share the environment and install nothing into it: each has its own on top (`overlay`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .uv import DependenciesError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

STAND_IN = "gpujob"
# torch looks for these packages next to itself, so they are installed wherever torch is.
COMPANIONS = ("nvidia_*", "triton-*", "pytorch_triton-*")
VERSION = re.compile(
    r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?"
    r"([-_.]?dev[-_.]?\d*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
LOOK = """
import json, site, sys
sites = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
print(json.dumps([sys.prefix, sys.version, sites, sys.path[1:]]))
"""


class Base(NamedTuple):
    """The base interpreter: version, folders of its packages, and everything on its import path."""

    python: str
    prefix: str
    version: str
    sites: list[str]
    path: list[str]


def look_at(base_python: str) -> Base:
    """Query the base interpreter."""
    answer = subprocess.run([base_python, "-E", "-c", LOOK], stdout=subprocess.PIPE, check=False)
    if answer.returncode:
        raise DependenciesError(f"the interpreter {base_python} does not run")
    prefix, version, sites, path = json.loads(answer.stdout)
    return Base(base_python, prefix, version, list(filter(os.path.isdir, sites)), list(filter(os.path.isdir, path)))


def lead_to_base(site: Path, base: Base) -> None:
    """Make an environment import the base's packages, after its own."""
    (site / "zz_base.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in base.sites))


def add_stand_ins(site: Path, path: list[str]) -> None:
    """Make uv treat the base's packages as installed; skip those with versions that uv cannot parse."""
    from importlib import metadata  # rarely needed, and it adds a tenth to the start-up of every job

    packages: dict[str, Distribution] = {}
    for package in metadata.distributions(path=path):
        about = package.metadata
        if about["Name"] and VERSION.fullmatch(about["Version"] or ""):
            packages.setdefault(
                re.sub(r"[-_.]+", "_", about["Name"]).lower(), package
            )  # of two, Python imports the first
    for name, package in packages.items():
        folder = site / f"{name}-{package.version}.dist-info"
        needs = "".join(f"Requires-Dist: {need}\n" for need in package.requires or [])
        needs += "".join(f"Provides-Extra: {extra}\n" for extra in package.metadata.get_all("Provides-Extra") or [])
        files = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {package.version}\n{needs}",
            "INSTALLER": STAND_IN,
            "RECORD": "".join(f"{folder.name}/{file},,\n" for file in ("METADATA", "INSTALLER", "RECORD")),
        }
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")


def stand_ins(site: Path, pattern: str = "*") -> list[Path]:
    """Return the stand-ins that uv did not replace."""
    return [path.parent for path in site.glob(f"{pattern}.dist-info/INSTALLER") if path.read_text() == STAND_IN]


def remove_stand_ins(site: Path) -> None:
    """Remove the stand-ins, so that the base's own packages are found."""
    for stand_in in stand_ins(site):
        shutil.rmtree(stand_in)


def replaced_torch(site: Path) -> bool:
    """Return whether torch was installed without its companions, after removing their stand-ins."""
    companions = [path for pattern in COMPANIONS for path in stand_ins(site, pattern)]
    if stand_ins(site, "torch-*") or not list(site.glob("torch-*.dist-info")):
        return False
    for path in companions:
        shutil.rmtree(path)
    return bool(companions)


def refuse_own_folders(site: Path, name: str) -> None:
    """Raise DependenciesError if a project folder was installed: other jobs would import this job's code."""
    for path in site.glob("*.dist-info/direct_url.json"):
        origin = json.loads(path.read_text(encoding="utf-8"))
        if "dir_info" in origin:
            raise DependenciesError(
                f"{name} depends on a folder of the project ({Path(origin['url']).name}), which other jobs may have changed; "
                "import it from there (PYTHONPATH) or ship it as a wheel"
            )
