"""Fetch the agent from a sent job's bucket; the user data has this module and what it imports.

It is tried until the machine's lease ends: the role, the bucket or the network may be repaired until then.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Mapping
from urllib.parse import urlsplit

from ..aws.credentials import NoCredentialsError, read_credentials
from ..aws.metadata import read_metadata
from ..aws.service import Service, send
from ..aws.signing import Request, sign

MOST_BYTES = 16 << 20  # of the agent
PAUSE_S = 5.0


def main() -> None:
    """Install the agent and this machine's settings, from the file given as argument, in the user's home."""
    about = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder = Path.home() / ".gpujob"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        try:
            install(about, folder)
            return
        except (OSError, http.client.HTTPException, NoCredentialsError, ValueError) as error:
            sys.stderr.write(f"cannot fetch the agent: {error}\n")
            sys.stderr.flush()
        time.sleep(float(about.get("pause_s", PAUSE_S)))


def install(about: Mapping[str, Any], folder: Path) -> None:
    """Install the agent atomically, and write what it is to know; raises OSError or ValueError."""
    path = folder / about["agent"]["name"]
    if not path.exists():
        content = fetch(about)
        if hashlib.sha256(content).hexdigest() != about["agent"]["sha256"]:
            raise ValueError("it is not the one that was sent")
        replace(path, content)
        # It runs uncompiled, too, as where there is no room.
        subprocess.call([sys.executable, "-I", "-S", str(path), "compile"], stdin=subprocess.DEVNULL)
    link = folder / f"agent.pyz.{os.getpid()}"
    link.symlink_to(path.name)
    link.replace(folder / "agent.pyz")
    kinds = {"instance_id": "instance-id", "instance_type": "instance-type", "zone": "placement/availability-zone"}
    found = {name: read_metadata(f"meta-data/{path}") for name, path in kinds.items()}
    market = "spot" if read_metadata("meta-data/instance-life-cycle") == "spot" else "on-demand"
    image = read_metadata("meta-data/ami-id")
    known = {**about, "machine": {**about["machine"], **found, "market": market, "image_id": image}}
    replace(folder / "sent.json", json.dumps(known).encode())


def replace(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o400)
    temporary.replace(path)


def fetch(about: Mapping[str, Any]) -> bytes:
    """Return the agent's object; raises OSError or ValueError."""
    bucket, key = about["bucket"], f"{about['prefix']}{about['agent']['name']}"
    place = urlsplit(Service("s3", bucket["region"], bucket.get("endpoint", "")).address)
    owner = {"x-amz-expected-bucket-owner": bucket["owner"]} if bucket["owner"] else {}
    request = Request("GET", place.netloc, f"/{bucket['name']}/{key}", {}, owner)
    headers = sign(request, read_credentials(), bucket["region"], "s3", time.time())
    answer = send(place.scheme, request, headers, most_bytes=MOST_BYTES)
    if answer.status != 200:
        raise ValueError(f"S3 answered {answer.status}: {answer.body[:200].decode(errors='replace')}")
    return answer.body
