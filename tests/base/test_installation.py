"""What is missing is installed by the command that fits this copy: where it came from, and what installed it."""

import json
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from infra.base import installation
from tests.conftest import REPOSITORY

WHEEL = "file:///tmp/ec2_gpujob-0.1.0-py3-none-any.whl"
SITE = Path("/venv/lib/python3.11/site-packages/gpujob")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Let a copy be installed in an environment of its own, with this metadata and these files."""

    def install(files: tuple[str, ...] = (), pip: bool = True, **metadata: str) -> Path:
        for file in files:
            (tmp_path / file).write_text("")
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setattr(installation, "FOLDER", SITE)
        monkeypatch.setattr(installation, "read_metadata", lambda file: metadata.get(file.partition(".")[0], ""))
        monkeypatch.setattr(installation, "find_spec", lambda name: pip or None)
        return tmp_path

    return install


def origin(url: str, **more: object) -> str:
    return json.dumps({"url": url, **more})


PIP = [sys.executable, "-m", "pip", "install"]
UV = ["uv", "pip", "install", "--python", sys.executable]
COMMIT = {"vcs": "git", "commit_id": "abc", "requested_revision": "main"}


@pytest.mark.parametrize(
    ("metadata", "files", "words"),
    [
        ({}, (), [*PIP, "ec2-gpujob[local]"]),
        ({"INSTALLER": "uv\n"}, (), [*UV, "ec2-gpujob[local]"]),
        ({"pip": False}, (), [*UV, "ec2-gpujob[local]"]),
        ({"direct_url": origin(WHEEL, archive_info={})}, (), [*PIP, f"ec2-gpujob[local] @ {WHEEL}"]),
        ({"direct_url": origin("file:///src", dir_info={})}, (), [*PIP, "ec2-gpujob[local] @ file:///src"]),
        (
            {"direct_url": origin("https://example.org/x.git", vcs_info=COMMIT)},
            (),
            [*PIP, "ec2-gpujob[local] @ git+https://example.org/x.git@abc"],
        ),
        ({"direct_url": "no JSON"}, (), [*PIP, "ec2-gpujob[local]"]),
        ({"INSTALLER": "uv"}, ("uv-receipt.toml",), ["uv", "tool", "install", "--force", "ec2-gpujob[local]"]),
        (
            {"direct_url": origin(WHEEL)},
            ("pipx_metadata.json",),
            ["pipx", "install", "--force", f"ec2-gpujob[local] @ {WHEEL}"],
        ),
    ],
)
def test_the_command_fits_how_this_copy_was_installed(installed, metadata, files, words):
    installed(files, **metadata)
    assert shlex.split(installation.install_command("local")) == words


def test_a_checkout_is_installed_as_one_whether_or_not_it_was():
    words = shlex.split(installation.install_command("setup"))
    assert words[-2:] == ["--editable", f"{REPOSITORY}[setup]"]


def test_the_name_is_the_one_on_the_index_and_the_hint_never_names_another_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["name"] == installation.DISTRIBUTION
    assert project["scripts"] == {"gpujob": "gpujob.cli.__main__:main"}
    ours = [each for each in REPOSITORY.iterdir() if not each.name.startswith(".")]  # not .venv with its 50,000 files
    files = [path for each in ours for path in ([each] if each.is_file() else each.rglob("*"))]
    for path in files:
        if path.suffix in (".py", ".md", ".toml", ".sh") and path != Path(__file__):
            assert "install 'gpujob[" not in path.read_text(), path


def test_a_copy_that_is_not_installed_has_an_unknown_version(monkeypatch):
    monkeypatch.setattr(installation, "DISTRIBUTION", "ec2-gpujob-that-nobody-installed")
    assert installation.find_version() == "unknown"
    assert installation.read_metadata("INSTALLER") == ""
