"""The record of a running local cloud in its folder, and the proof of its identity."""

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "cloud.json"
LOG = "cloud.log"
HOSTS = "hosts"


@dataclass(frozen=True)
class LocalCloud:
    """A running local cloud: its address, and the key that every request must carry."""

    url: str
    access_key: str
    pid: int


def write(folder: Path, cloud: LocalCloud) -> None:
    """Write the record atomically, readable by its owner only."""
    draft = folder / f"{RECORD}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(cloud), file)
    draft.replace(folder / RECORD)


def read(folder: Path) -> LocalCloud | None:
    """Read the record; None if it is missing or invalid."""
    try:
        fields = json.loads((folder / RECORD).read_text())
        return LocalCloud(url=str(fields["url"]), access_key=str(fields["access_key"]), pid=int(fields["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def proof(access_key: str, nonce: str) -> str:
    """Answer a nonce as only a holder of the key can, without revealing the key."""
    return hmac.new(access_key.encode(), nonce.encode(), hashlib.sha256).hexdigest()
