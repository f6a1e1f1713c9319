"""How this copy of gpujob was installed, and the command that adds an extra to it."""

import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

# The name on PyPI; "gpujob" there is an unrelated project.
DISTRIBUTION = "ec2-gpujob"
FOLDER = Path(__file__).resolve().parents[2]


def find_version() -> str:
    """Return the version of the installed package; "unknown" for a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # slower than the rest of the start

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def is_checkout(folder: Path) -> bool:
    """Return whether this code runs from the repository, as an editable installation does."""
    return (folder / "pyproject.toml").is_file()


def install_command(extra: str) -> str:
    """Return the command that reinstalls this copy with an extra, the way it was installed."""
    return shlex.join([*find_installer(Path(sys.prefix)), *find_source(extra, FOLDER)])


def find_installer(prefix: Path) -> list[str]:
    """Return the start of the command that installs into an environment, possibly managed by uv or pipx."""
    if (prefix / "uv-receipt.toml").is_file():
        return ["uv", "tool", "install", "--force"]
    if (prefix / "pipx_metadata.json").is_file():
        return ["pipx", "install", "--force"]
    if read_metadata("INSTALLER").strip() == "uv" or find_spec("pip") is None:
        return ["uv", "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]


def find_source(extra: str, folder: Path) -> list[str]:
    """Return what to install: the checkout, folder, file or repository it came from, or its name on PyPI.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    if is_checkout(folder):
        return ["--editable", f"{folder}[{extra}]"]
    try:
        origin = json.loads(read_metadata("direct_url.json") or "{}")
        url = str(origin.get("url", ""))
        if vcs := origin.get("vcs_info"):
            url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        url = ""
    return [f"{DISTRIBUTION}[{extra}] @ {url}" if url else f"{DISTRIBUTION}[{extra}]"]


def read_metadata(file: str) -> str:
    """Return a file of the installed package's metadata; "" if there is none."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(DISTRIBUTION).read_text(file) or ""
    except PackageNotFoundError:
        return ""
