"""The tags that say what belongs to a cluster: their names, and what may be made of their values.

Anybody in the account can write a tag, so every value is decoded and bounded here, and nowhere else.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from infra.model import Gpu, parse_gpu
from infra.names import NAME

CLUSTER_TAG = "gpujob:cluster"
OWNER_TAG = "gpujob:owner"
OWNER_ID_TAG = "gpujob:owner-id"
"""The owner as IAM's variable `aws:userid` has it, which is what a policy can compare with."""
LAUNCH_TAG = "gpujob:launch"
"""Which `up` made a thing, so that one that fails removes its own and nothing else."""
ENDPOINT_TAG = "gpujob:endpoint"
"""Where a host of the local cloud answers: 127.0.0.1:PORT."""
RANK_TAG = "gpujob:rank"
PRICE_TAG = "gpujob:price"
DISK_PRICE_TAG = "gpujob:disk-price"
SPENT_TAG = "gpujob:spent"
IDLE_TAG = "gpujob:idle-stop"
LEASE_TAG = "gpujob:lease-until"
GPU_TAG = "gpujob:gpu"
IMAGE_TAG = "gpujob:image"
FROM_TAG = "gpujob:from"
"""The cluster that an image was made of; then its node, that node's type, and the image which that one had booted."""
FROM_INSTANCE_TAG = "gpujob:from-instance"
FROM_TYPE_TAG = "gpujob:from-type"
FROM_IMAGE_TAG = "gpujob:from-image"

# Larger than anything EC2 rents, and small enough that no sum is ruined: a p6-b300 is below 150 USD an hour.
MOST: Mapping[str, float] = {
    PRICE_TAG: 1_000,
    DISK_PRICE_TAG: 100,
    SPENT_TAG: 10_000_000,
    IDLE_TAG: 366 * 86_400,
    RANK_TAG: 63,
}
LATEST_S = 2**33  # in the year 2242; a later time cannot be shown in every zone
NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?")
OWNER_LETTERS = 256  # the most that a tag's value has


def read_tags(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return a resource's tags as a dictionary, whichever of EC2's two names they have."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", resource.get("TagSet", []))}


def resource_name(name: str) -> str:
    """Return what a cluster's security group and key pair, or an image, are called in EC2."""
    return f"gpujob-{name}"


def read_cluster(tags: Mapping[str, str]) -> str:
    """Return the cluster that tags name; "" for a name that `up` would not give, such as a wildcard."""
    return read_name(tags, CLUSTER_TAG)


def read_name(tags: Mapping[str, str], tag: str) -> str:
    """Return the name of a cluster or an image that a tag holds; "" for anything else."""
    name = tags.get(tag, "")
    return name if NAME.fullmatch(name) else ""


def read_number(tags: Mapping[str, str], tag: str) -> float:
    """Return the number that a tag holds; 0 if it is missing, damaged, negative or beyond all reason."""
    text = tags.get(tag, "")
    number = float(text) if NUMBER.fullmatch(text) else 0.0
    return number if number <= MOST[tag] else 0.0


def read_gpu(tags: Mapping[str, str]) -> Gpu | None:
    """Return the GPUs of one machine as a tag tells them; None if it tells of none, is missing or damaged."""
    return parse_gpu(tags.get(GPU_TAG, ""))


def read_owner(tags: Mapping[str, str]) -> str:
    """Return the ARN that a tag names as the owner, on one line and no longer than a tag can be."""
    return "".join(letter for letter in tags.get(OWNER_TAG, "") if letter.isprintable())[:OWNER_LETTERS]


def read_endpoint(tags: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port of a machine of the local cloud; an empty host while there is none."""
    host, _, port = tags.get(ENDPOINT_TAG, "").partition(":")
    return (host, int(port)) if port.isascii() and port.isdecimal() and int(port) < 65_536 else ("", 22)


def format_time(seconds: float) -> str:
    """Return a time as tags hold it: 2026-11-24T12:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Return the seconds since the epoch that a tag holds; 0.0 if it is damaged."""
    try:
        seconds = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds <= LATEST_S else 0.0
