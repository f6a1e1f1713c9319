"""Install a job's project into the job's own environment, as `pip install -e` would.

The environment of dependencies is shared between jobs and contains none of their projects. Where pyproject.toml describes
the project fully, the result is written here in milliseconds; otherwise its build backend is run by uv, which takes
seconds. Either way the code is imported from the job's own snapshot.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import BinaryIO, Sequence
from urllib.parse import quote

from ..overlay import first_line, site_of
from ..uv import DependenciesError, find_uv, say, stream
from .metadata import CONSOLE, WINDOWED, Metadata, Points, read_metadata
from .search import Found, read

# Sorts after the file that leads to the packages below: a folder of the project hides no package that was installed.
PATH_FILE = "zz_project_{name}.pth"
TARGET = re.compile(r"\s*([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_]\w*)([\w.]*)\s*(\[[^\]]*\])?\s*")
LAUNCHER = """import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}{attributes}())
"""
# uv's message if a build failed after its requirements were installed, and a build's if a requirement is missing.
BACKEND_RAN, LACKED = re.compile(rb"Call to\s+`"), b"ModuleNotFoundError"  # uv wraps its lines
FROM_GIT = re.compile(r"setuptools[-_]scm|hatch-vcs|dynamic-versioning|source\s*=\s*[\"'](scm|vcs)")
PRETENDED = {
    "SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0",
    "PDM_BUILD_SCM_VERSION": "0.0.0",
    "POETRY_DYNAMIC_VERSIONING_BYPASS": "0.0.0",
    "UV_DYNAMIC_VERSIONING_BYPASS": "0.0.0",
}


def install_projects(own: str, projects: Sequence[Found], root: Path, log: BinaryIO) -> bool:
    """Install projects into the environment of the interpreter `own`; return whether a build backend ran.

    Raises DependenciesError.
    """
    built = False
    for found in projects:
        metadata = read_metadata(found)
        if metadata:
            write_package(own, found.folder, metadata)
        else:
            build(own, found, root, log)
            built = True
    return built


def write_package(own: str, folder: Path, metadata: Metadata) -> None:
    """Write an editable install of a project: metadata, a path file, a launcher for each command."""
    site, name = site_of(own), re.sub(r"[-_.]+", "_", metadata.name).lower()
    info, path_file = site / f"{name}-{metadata.version}.dist-info", site / PATH_FILE.format(name=name)
    programs = [
        write_launcher(own, *point) for group in (CONSOLE, WINDOWED) for point in metadata.points.get(group, {}).items()
    ]
    lines = ["Metadata-Version: 2.1", f"Name: {metadata.name}", f"Version: {metadata.version}", *metadata.headers]
    url = f"file://{quote(os.fsencode(folder))}"
    files = {
        "METADATA": "\n".join([*lines, ""]),
        "INSTALLER": "gpujob\n",
        "direct_url.json": json.dumps({"url": url, "dir_info": {"editable": True}}),
        "entry_points.txt": write_points(metadata.points),
    }
    installed = [path_file, *programs, *(info / file for file in (*files, "RECORD"))]
    files["RECORD"] = "".join(f"{os.path.relpath(path, site)},,\n" for path in installed)
    path_file.write_text(f"{metadata.path}\n", encoding="utf-8")
    info.mkdir()
    for file, text in files.items():
        (info / file).write_text(text, encoding="utf-8")


def write_points(points: Points) -> str:
    """Return the text of entry_points.txt."""
    groups = ("\n".join([f"[{group}]", *map(" = ".join, each.items()), ""]) for group, each in points.items())
    return "\n".join(groups)


def write_launcher(own: str, name: str, target: str) -> Path:
    """Write the program of a console script; raises DependenciesError for an invalid one."""
    parts, path = TARGET.fullmatch(target), Path(own).parent / name
    if parts is None or path.name != name:
        raise DependenciesError(f"pyproject.toml: '{name} = \"{target}\"' is not a script; write it as MODULE:FUNCTION")
    text = LAUNCHER.format(module=parts[1], function=parts[2], attributes=parts[3])
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # a command of that name in an environment below, or a link to the interpreter
    path.write_bytes(first_line(own) + text.encode())
    path.chmod(0o755)
    return path


def build(own: str, found: Found, root: Path, log: BinaryIO) -> None:
    """Install a project with its own build backend by `uv pip install -e`; raises DependenciesError."""
    name = os.path.relpath(found.folder, root)
    what = "the project" if name == "." else name
    say(log, f"building {what} for this job, as only its build backend knows its metadata ...")
    install = [*find_uv(own, log), "pip", "install", "--quiet", "--no-deps", "--python", own, "--editable", "."]
    variables = [f"{name}={value}" for name, value in versions_of(found).items()]
    reason = b""
    # First what needs no network. Without isolation the job's own packages count: an extension of torch needs them.
    for options in (["--offline"], [], ["--no-build-isolation"]):
        output = io.BytesIO()
        if stream(["env", *variables, *install, *options], output, log.fileno(), found.folder) == 0:
            order_paths(site_of(own))
            return
        faulty = BACKEND_RAN.search(output.getvalue()) is not None and LACKED not in output.getvalue()
        reason = output.getvalue() if faulty or options != ["--no-build-isolation"] else reason
        if faulty:
            break  # an error of the project itself, which no other attempt would avoid
    log.write(reason)
    raise DependenciesError(f"{what} could not be built, see the lines above; to run without installing it: --no-deps")


def versions_of(found: Found) -> dict[str, str]:
    """Return a version for tools that derive it from git, whose tags are not on the node."""
    text = read(found.folder / "pyproject.toml") + read(found.folder / "setup.py")
    if not FROM_GIT.search(text) or "fallback" in text:
        return {}
    return {name: value for name, value in PRETENDED.items() if name not in os.environ}


def order_paths(site: Path) -> None:
    """Rename a backend's path files so that the project's folder comes after installed packages."""
    for record in site.glob("*.dist-info/RECORD"):
        text = record.read_text(encoding="utf-8")
        for line in re.findall(r"^[^/\n,]+\.pth(?=,)", text, re.MULTILINE):
            if not line.startswith("zz_") and (site / line).is_file():
                (site / line).rename(site / f"zz_project_{line}")
                text = text.replace(f"{line},", f"zz_project_{line},")
        record.write_text(text, encoding="utf-8")
