"""CreateImage: an image contains only its host's home, as the rest belongs to this computer."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request

HOME = "home"
_ID = re.compile(rb"<imageId>(ami-[0-9a-f]+)</imageId>")


def create_image(
    request: Request, moto: Callable[[Request], Answer], take: Callable[[str, str], None]
) -> Answer | None:
    """Create an image of an instance, rebooting it through `take`; None for an unknown instance."""
    instance = moto_state.find_instance(request.region, request.params.get("InstanceId", ""))
    name = request.params.get("Name", "")
    if instance is None:
        return None
    with moto_state.LOCK:
        if moto_state.has_image_named(request.region, name):
            message = f"AMI name {name} is already in use by AMI"
            return error("ec2", "InvalidAMIName.Duplicate", message)
        answer = moto(without_snapshots(request))
        found = _ID.search(answer.body)
        if answer.status == 200 and found:
            image_id = found[1].decode()
            moto_state.finish_image(instance, image_id, request.tags_for("snapshot"))
            take(instance.id, image_id)
    return answer


def without_snapshots(request: Request) -> Request:
    """Return a request without its tags for snapshots, which moto rejects."""
    numbers = [
        name.split(".")[1]
        for name, value in request.params.items()
        if name.endswith(".ResourceType") and value == "snapshot"
    ]
    gone = tuple(f"TagSpecification.{number}." for number in numbers)
    return replace(request, params={n: v for n, v in request.params.items() if not (gone and n.startswith(gone))})


def keep_home(instance: Any, hosts: Path, image_id: str) -> None:
    """Save the home of a host that is off, and make the image available."""
    region = instance.ec2_backend.region_name
    kept = instance.state == "running" and copy(hosts / instance.id / HOME, hosts / image_id)
    moto_state.set_image_state(region, image_id, "available" if kept else "failed")


def lay_out_home(image: Path, host: Path) -> None:
    """Give a host that boots for the first time the home from its image, if it was created here."""
    if (image / HOME).exists() and not (host / HOME).exists():
        copy(image / HOME, host)
        (host / HOME / ".profile").unlink(missing_ok=True)  # contains the old host's commands


def copy(source: Path, target: Path) -> bool:
    """Copy a folder into another; return whether that worked."""
    target.mkdir(mode=0o700, exist_ok=True)
    words = ["cp", "--archive", "--reflink=auto", str(source), str(target)]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
