"""The lock of the development environment: what pyproject.toml asks for is in it, and nothing ties it to one computer."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import REPOSITORY

LOCK = REPOSITORY / "requirements-dev.lock"
OPEN = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)")  # large, and different from machine to machine


def requirements() -> list[Requirement]:
    """Return all that development takes: the dependencies, the extra `dev`, and the extras that it names."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = [Requirement(line) for line in project["dependencies"] + extras["dev"]]
    itself = [one for one in found if one.name == project["name"]]
    assert len(itself) == 1
    inner = [Requirement(line) for extra in sorted(itself[0].extras) for line in extras[extra]]
    return [one for one in found + inner if one.name != project["name"]]


def locked() -> dict[str, set[Version]]:
    """Return the versions that are locked, by name; several where they differ from Python to Python."""
    versions: dict[str, set[Version]] = {}
    for line in LOCK.read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.partition(";")[0].strip().split("==")
            versions.setdefault(canonicalize_name(name), set()).add(Version(version))
    return versions


def test_the_lock_has_what_pyproject_asks_for_in_versions_that_fit():
    asked = [one for one in requirements() if not OPEN.fullmatch(one.name)]
    assert len(asked) > 30
    versions = locked()
    missing = {one.name for one in asked if canonicalize_name(one.name) not in versions}
    assert not missing, "run: make lock"
    unfit = {one.name for one in asked for each in versions[canonicalize_name(one.name)] if each not in one.specifier}
    assert not unfit, "run: make lock"


def test_torch_and_what_it_brings_along_stay_open():
    assert [name for name in locked() if OPEN.fullmatch(name)] == []
    assert {one.name for one in requirements() if OPEN.fullmatch(one.name)} == {"torch", "torchvision"}


def test_the_lock_names_no_server_and_no_file():
    assert not re.search(r"://|@|--|\.whl", LOCK.read_text())


def test_every_install_of_the_makefile_is_from_the_lock():
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    installs = [line for line in lines if re.search(r"(\bbin|\$\(BIN\))/pip install", line) and "uv;" not in line]
    assert len(installs) == 4
    assert all(f"--constraint {LOCK.name}" in line for line in installs)
