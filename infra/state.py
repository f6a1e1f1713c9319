"""The private folder with gpujob's state on this computer, and its files."""

import os
import re
import tempfile
from pathlib import Path

from platformdirs import user_state_path

from infra.errors import GpujobError


def state_folder() -> Path:
    """Return the private state folder, created if needed; raises GpujobError if another user owns it."""
    folder = user_state_path("gpujob")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # It holds private keys: the owner of the folder, or of a link in its place, could read or replace them.
    if {folder.lstat().st_uid, folder.stat().st_uid} != {os.geteuid()}:
        raise GpujobError(f"{folder} belongs to another user", "set XDG_STATE_HOME to a folder that you own")
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def local_cloud_folder() -> Path:
    """Return the folder of the local cloud."""
    return state_folder() / "local"


def cache_file(name: str) -> Path:
    """Return the file of a cached response."""
    return state_folder() / "cache" / re.sub(r"[^\w.*-]", "_", name)


def logs_folder() -> Path:
    """Return the folder of the commands' logs and reports; it need not exist."""
    return user_state_path("gpujob") / "logs"


def cluster_folder(name: str) -> Path:
    """Return the folder of one cluster; it need not exist. Raises ValueError for a name that is a path."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"invalid cluster name: {name!r}")
    return state_folder() / "clusters" / name


def attempt_file(name: str) -> Path:
    """Return the file from which an interrupted `up` is resumed."""
    return state_folder() / "attempts" / f"{cluster_folder(name).name}.json"


def submissions_folder(name: str) -> Path:
    """Return the folder that records which project each job of a cluster came from."""
    return state_folder() / "submissions" / cluster_folder(name).name


def list_attempts() -> list[str]:
    """Return the names of the clusters whose `up` has not finished."""
    return [path.stem for path in (state_folder() / "attempts").glob("*.json")]


def key_file(name: str) -> Path:
    """Return the file of a cluster's private key."""
    return cluster_folder(name) / "id_ed25519"


def known_hosts_file(name: str) -> Path:
    """Return the file of a cluster's pinned host keys, in OpenSSH's format."""
    return cluster_folder(name) / "known_hosts"


def ssh_config_file() -> Path:
    """Return the ssh configuration with all clusters, kept up to date once `ssh-config` has created it."""
    return state_folder() / "ssh_config"


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)
