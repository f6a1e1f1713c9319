"""Where this laptop keeps what it remembers: a private folder, its files, and how they are written."""

import os
import re
import tempfile
from pathlib import Path

from platformdirs import user_state_path

from infra.errors import GpujobError


def state_folder() -> Path:
    """Return the folder of all of it, made if need be, private to this user; raises GpujobError if it is not theirs."""
    folder = user_state_path("gpujob")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Keys go in here: who owns the folder, or a link in its place, could read or exchange them.
    if {folder.lstat().st_uid, folder.stat().st_uid} != {os.geteuid()}:
        raise GpujobError(f"{folder} belongs to another user", "set XDG_STATE_HOME to a folder of your own")
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def local_cloud_folder() -> Path:
    """Return the folder of the local cloud."""
    return state_folder() / "local"


def cache_file(name: str) -> Path:
    """Return where an answer that keeps for a while is kept."""
    return state_folder() / "cache" / re.sub(r"[^\w.*-]", "_", name)


def logs_folder() -> Path:
    """Return where commands keep their logs and reports; it need not exist."""
    return user_state_path("gpujob") / "logs"


def cluster_folder(name: str) -> Path:
    """Return the folder of one cluster; it need not exist. Raises ValueError for a name that would lead elsewhere."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"no name for a cluster: {name!r}")
    return state_folder() / "clusters" / name


def attempt_file(name: str) -> Path:
    """Return where an `up` that is not through keeps what the same `up` needs to go on with it."""
    return state_folder() / "attempts" / f"{cluster_folder(name).name}.json"


def submissions_folder(name: str) -> Path:
    """Return where it is kept which project each job of a cluster came from."""
    return state_folder() / "submissions" / cluster_folder(name).name


def list_attempts() -> list[str]:
    """Return the names of the clusters whose `up` is not through."""
    return [path.stem for path in (state_folder() / "attempts").glob("*.json")]


def key_file(name: str) -> Path:
    """Return where the cluster's private key is kept."""
    return cluster_folder(name) / "id_ed25519"


def known_hosts_file(name: str) -> Path:
    """Return where the cluster's pinned host keys are kept, in OpenSSH's format."""
    return cluster_folder(name) / "known_hosts"


def ssh_config_file() -> Path:
    """Return where plain ssh finds the clusters, once that was asked for; kept up with what is remembered from then on."""
    return state_folder() / "ssh_config"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)
