"""Build an environment on top of a base interpreter, whose packages are reused; uv installs the rest.

uv only sees an environment's own packages and would download the base's again, the image's torch above all. So a new
environment gets a stand-in for each package of the base (name, version and requirements, no code) before uv installs:
what satisfies a requirement stays, anything else is replaced by a package in the environment. Then the stand-ins are
removed. Python finds the base's packages after the environment's through a .pth file: for a base that is an environment
itself, as in AWS's images, "system site packages" would be those of the interpreter below both.

Jobs share the environment and install nothing into it: each has its own on top (`overlay`).
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .uv import DependenciesError, find_uv, say, stream

CONDAS = ("micromamba", "mamba", "conda")
STAND_IN = "gpujob"
# torch looks for these packages next to itself, so they are installed wherever torch is.
COMPANIONS = ("nvidia_*", "triton-*", "pytorch_triton-*")
ITSELF = re.compile(
    r"^[ \t]*(?:(?:-e|--editable)[ \t=]+)?(?:file:)?\./?(?:\[([\w, .-]*)\])?[ \t]*(?:#.*)?\r?$", re.MULTILINE
)
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


def build(project: Path, manifest: list[Path], base: Base, folder: Path, log: BinaryIO, lock: int) -> None:
    """Build the environment; raises DependenciesError."""
    name = manifest[0].name
    say(log, f"installing dependencies from {name} ...")
    if manifest[0].suffix in (".yml", ".yaml"):
        program, code = "conda", run_conda(manifest[0], folder, log, lock)
    else:
        program, code = "uv", run_uv(project, manifest, base, folder, log, lock)
    if code:
        raise DependenciesError(
            f"{program} could not install the dependencies from {name}; see the lines above; "
            "fix the file, or run with --no-deps"
        )


def run_conda(file: Path, folder: Path, log: BinaryIO, lock: int) -> int:
    """Create the conda environment of an environment.yml; return the exit code."""
    conda = next(filter(None, map(shutil.which, CONDAS)), None)
    if conda is None:
        raise DependenciesError(
            f"{file.name} needs conda, mamba or micromamba, and none is installed on the machine; "
            "list the dependencies in requirements.txt instead, or run with --no-deps"
        )
    make = [conda, "create", "--yes"] if Path(conda).name == "micromamba" else [conda, "env", "create"]
    code = stream([*make, "--prefix", str(folder), "--file", str(file)], log, lock, file.parent)
    if code == 0 and not os.access(folder / "bin" / "python", os.X_OK):
        raise DependenciesError(f"{file.name} does not list python; add it to its dependencies")
    return code


def run_uv(project: Path, manifest: list[Path], base: Base, folder: Path, log: BinaryIO, lock: int) -> int:
    """Create an environment on top of the base, install the manifest; return uv's exit code."""
    uv = find_uv(base.python, log)
    code = stream([*uv, "venv", "--quiet", "--python", base.python, str(folder)], log, lock, folder.parent)
    if code:
        return code
    python, site = folder / "bin" / "python", next(folder.glob("lib/python*/site-packages"))
    (site / "zz_base.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in base.sites))
    add_stand_ins(site, base.path)
    source, given = source_of(project, manifest[0], folder, log)
    if manifest[0].name == "uv.lock":
        export = [*uv, "export", "--quiet", "--frozen", "--no-dev", "--no-header"]
        export += ["--all-packages", "--no-emit-workspace"]  # the members are installed for each job
        code = stream([*export, "--python", base.python, "--output-file", source[1]], log, lock, project)
    install = [*uv, "pip", "install", "--python", str(python), *source]
    # The base and uv's cache are often enough, so try without an index or network first.
    code = code or (install_offline(install, log, lock, project, given) and stream(install, log, lock, project, given))
    if code == 0 and replaced_torch(site):
        code = stream(install, log, lock, project, given)
    if code == 0:
        refuse_own_folders(site, manifest[0].name)
        for stand_in in stand_ins(site):
            shutil.rmtree(stand_in)
    return code


def install_offline(install: list[str], log: BinaryIO, lock: int, project: Path, given: bytes) -> int:
    """Try to install offline; return uv's exit code. Errors are not logged, as a retry follows."""
    said = io.BytesIO()
    code = stream([*install, "--offline"], said, lock, project, given)
    log.write(b"" if code else said.getvalue())
    return code


def source_of(project: Path, file: Path, folder: Path, log: BinaryIO) -> tuple[list[str], bytes]:
    """Return uv's options that select what to install, and its standard input."""
    if file.name == "uv.lock":
        return ["-r", str(folder / "locked.txt")], b""
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    itself = ITSELF.search(text) if file.name == "requirements.txt" else None
    if itself is None:
        return ["-r", file.name], b""
    say(
        log,
        f"{itself[0].strip()}: only the project's dependencies are installed; the project is imported from its folder",
    )
    extras = [word for name in (itself[1] or "").split(",") if name.strip() for word in ("--extra", name.strip())]
    settings = ["-r", "pyproject.toml", *extras] if (project / "pyproject.toml").is_file() else []
    return ["-r", "-", *settings], ITSELF.sub("", text).encode("utf-8", "surrogateescape")


def add_stand_ins(site: Path, path: list[str]) -> None:
    """Make uv treat the base's packages as installed; skip those with versions that uv cannot parse."""
    packages: dict[str, metadata.Distribution] = {}
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
