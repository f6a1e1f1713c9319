"""What this laptop remembers of its clusters: a private key, pinned host keys, and a cache of what the tags say.

The truth about a cluster is its tags; all of this can be lost and `ls` and `down` still work. Reaching a node cannot: the
private key is nowhere else.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_state_path

from infra.model import Cluster


def state_folder() -> Path:
    """Return the folder that holds all of it, made if need be, open to its owner alone."""
    folder = user_state_path("gpujob")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def local_cloud_folder() -> Path:
    """Return the folder of the local cloud."""
    return state_folder() / "local"


def cache_file(name: str) -> Path:
    """Return where an answer that keeps for a while is kept."""
    return state_folder() / "cache" / re.sub(r"[^\w.*-]", "_", name)


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


def write_ssh_config() -> Path:
    """Write every cluster that is remembered as an ssh_config of our own; return its path."""
    from infra.ssh.login import make_config  # brings Fabric, which takes a third of a second

    write_private(ssh_config_file(), make_config(recall_all()))
    return ssh_config_file()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)


def remember(cluster: Cluster) -> None:
    """Keep what is known of a cluster."""
    write_private(cluster_folder(cluster.name) / "cluster.json", json.dumps(cluster.to_dict(), indent=2))
    if ssh_config_file().exists():
        write_ssh_config()


def recall(name: str) -> Cluster | None:
    """Return what is remembered of a cluster, or None."""
    try:
        return Cluster.from_dict(json.loads((cluster_folder(name) / "cluster.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def recall_all() -> Iterator[Cluster]:
    """Yield every cluster remembered, by name."""
    for folder in sorted((state_folder() / "clusters").glob("*/cluster.json")):
        cluster = recall(folder.parent.name)
        if cluster is not None:
            yield cluster


def forget(name: str) -> bool:
    """Drop all that is remembered of a cluster, its key included; return whether there was anything."""
    known = cluster_folder(name).exists() or attempt_file(name).exists()
    forget_cluster(name)
    forget_attempt(name)
    return known


def forget_cluster(name: str) -> None:
    """Drop what is remembered of a cluster, its key included, but not of an `up` that is not through."""
    shutil.rmtree(cluster_folder(name), ignore_errors=True)
    shutil.rmtree(submissions_folder(name), ignore_errors=True)
    if ssh_config_file().exists():
        write_ssh_config()


def forget_attempt(name: str) -> None:
    """Drop what is remembered of an `up` that is not through."""
    attempt_file(name).unlink(missing_ok=True)
