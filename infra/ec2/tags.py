"""The tags of a cluster's resources: their names, and the decoding of their values.

Anyone in the account can edit a tag, so this is the only place that decodes values, with limits.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.base.text import one_line
from infra.errors import UsageError
from infra.model import LOGIN_USER, Gpu, parse_gpu
from infra.names import BUCKET, JUMP, NAME, SECRET, USER

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import TagSpecificationTypeDef

CLUSTER_TAG = "gpujob:cluster"
OWNER_TAG = "gpujob:owner"
OWNER_ID_TAG = "gpujob:owner-id"
"""The owner as in IAM's variable `aws:userid`, which a policy can compare."""
LAUNCH_TAG = "gpujob:launch"
"""The `up` that created a resource, so that a failed one deletes only its own."""
ENDPOINT_TAG = "gpujob:endpoint"
"""The address of a host of the local cloud: 127.0.0.1:PORT."""
RANK_TAG = "gpujob:rank"
PRICE_TAG = "gpujob:price"
DISK_PRICE_TAG = "gpujob:disk-price"
SPENT_TAG = "gpujob:spent"
SPENT_AT_TAG = "gpujob:spent-at"
"""When `SPENT_TAG` was written."""
HOURS_TAG = "gpujob:hours"
"""How long it ran before its most recent start."""
IDLE_TAG = "gpujob:idle-stop"
LEASE_TAG = "gpujob:lease-until"
GPU_TAG = "gpujob:gpu"
PRIVATE_TAG = "gpujob:private"
"""The machines have only a private address."""
JUMP_TAG = "gpujob:proxy-jump"
USER_TAG = "gpujob:user"
BUCKET_TAG = "gpujob:bucket"
"""The bucket that jobs are uploaded to; it has to be this account's."""
SENT_TAG = "gpujob:sent"
"""The machines work on a sent job."""
SECRETS_TAG = "gpujob:secrets"
"""The names of a sent job's secrets, whose values are in the Parameter Store."""
IMAGE_TAG = "gpujob:image"
GROUP_TAG = "aws:autoscaling:groupName"
"""Of a machine that an Auto Scaling group launched; AWS's own, which no user can set."""
FROM_TAG = "gpujob:from"
"""The cluster that an image was created from; then the node, its type, and the image it booted."""
FROM_INSTANCE_TAG = "gpujob:from-instance"
FROM_TYPE_TAG = "gpujob:from-type"
FROM_IMAGE_TAG = "gpujob:from-image"

OURS = "gpujob:"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
MOST_TAGS, KEY_LETTERS, VALUE_LETTERS = 50, 128, 256
RESERVED = 20
"""Room for the tags above."""
PLAIN = re.compile(r"[\w +=.:/@-]*")
# More than anything on EC2 costs, but not so large as to ruin a sum: a p6-b300 is below 150 USD an hour.
MOST: Mapping[str, float] = {
    PRICE_TAG: 1_000,
    DISK_PRICE_TAG: 100,
    SPENT_TAG: 10_000_000,
    HOURS_TAG: 1_000_000,
    IDLE_TAG: 366 * 86_400,
    RANK_TAG: 63,
}
LATEST_S = 2**33  # in the year 2242; a later time cannot be shown in every time zone
NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?")


def tag_specification(kind: "ResourceTypeType", tags: Mapping[str, str]) -> "TagSpecificationTypeDef":
    """Return the tags in the form that creating calls expect."""
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def check_tag(key: str, value: str) -> None:
    """Raise UsageError for a tag that AWS or gpujob would refuse."""
    if key.startswith(OURS):
        wrong = f"keys with {OURS} are gpujob's own"
    elif key.lower().startswith("aws:"):
        wrong = "keys with aws: are AWS's own"
    elif not 0 < len(key) <= KEY_LETTERS or len(value) > VALUE_LETTERS:
        wrong = f"a key has 1 to {KEY_LETTERS} letters, a value at most {VALUE_LETTERS}"
    elif not PLAIN.fullmatch(key) or not PLAIN.fullmatch(value):
        wrong = "use letters, digits, spaces and + - = . _ : / @"
    else:
        return
    raise UsageError(f"invalid tag '{one_line(f'{key}={value}', 60)}': {wrong}", "write --tag team=vision")


def check_tags(tags: Sequence[tuple[str, str]]) -> None:
    """Raise UsageError for too many tags, or two values of one key."""
    keys = [key for key, _ in tags]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UsageError(f"the tag '{twice}' has two values", "omit one of them")
    if len(keys) > MOST_TAGS - RESERVED:
        raise UsageError(f"{len(keys)} tags are too many", f"use at most {MOST_TAGS - RESERVED}; gpujob adds its own")


def pick_foreign(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that are neither gpujob's nor AWS's own."""
    return {key: value for key, value in tags.items() if not key.startswith((OURS, "aws:")) and key != "Name"}


def read_tags(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return a resource's tags as a dictionary, from either of EC2's two keys."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", resource.get("TagSet", []))}


def resource_name(name: str) -> str:
    """Return the EC2 name of a cluster's security group and key pair, or of an image."""
    return f"gpujob-{name}"


def read_cluster(tags: Mapping[str, str]) -> str:
    """Return the cluster's name in the tags; "" if it is invalid, such as a wildcard."""
    return read_name(tags, CLUSTER_TAG)


def read_name(tags: Mapping[str, str], tag: str) -> str:
    """Return the cluster or image name in a tag; "" if it is invalid."""
    name = tags.get(tag, "")
    return name if NAME.fullmatch(name) else ""


def read_number(tags: Mapping[str, str], tag: str) -> float:
    """Return the number in a tag; 0 if it is missing, invalid, negative or unreasonably large."""
    text = tags.get(tag, "")
    number = float(text) if NUMBER.fullmatch(text) else 0.0
    return number if number <= MOST[tag] else 0.0


def read_gpu(tags: Mapping[str, str]) -> Gpu | None:
    """Return the GPUs of a machine by its tag; None if it has none, or the tag is missing or invalid."""
    return parse_gpu(tags.get(GPU_TAG, ""))


def read_owner(tags: Mapping[str, str]) -> str:
    """Return the owner's ARN in a tag, as one line no longer than a tag can be."""
    return "".join(letter for letter in tags.get(OWNER_TAG, "") if letter.isprintable())[:VALUE_LETTERS]


def read_jump(tags: Mapping[str, str]) -> str:
    """Return the jump host in a tag; "" if it is missing or invalid."""
    jump = tags.get(JUMP_TAG, "")
    return jump if JUMP.fullmatch(jump) else ""


def read_bucket(tags: Mapping[str, str]) -> str:
    """Return the bucket in a tag; "" if it is missing or invalid."""
    bucket = tags.get(BUCKET_TAG, "")
    return bucket if BUCKET.fullmatch(bucket) else ""


def read_user(tags: Mapping[str, str]) -> str:
    """Return the login user in a tag; the usual one if it is missing or invalid."""
    user = tags.get(USER_TAG, "")
    return user if USER.fullmatch(user) else LOGIN_USER


def join_secrets(names: Iterable[str]) -> str:
    """Return the value of the tag with the names of secrets."""
    return " ".join(sorted(names))


def read_secrets(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of a sent job's secrets in a tag, without invalid ones."""
    return tuple(name for name in tags.get(SECRETS_TAG, "").split() if SECRET.fullmatch(name))


def read_endpoint(tags: Mapping[str, str]) -> tuple[str, int]:
    """Return host and port of a machine of the local cloud; an empty host if it has none yet."""
    host, _, port = tags.get(ENDPOINT_TAG, "").partition(":")
    return (host, int(port)) if port.isascii() and port.isdecimal() and int(port) < 65_536 else ("", 22)


def format_time(seconds: float) -> str:
    """Return a time in the format of tags: 2026-11-24T12:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    """Return the time in a tag, as seconds since the epoch; 0.0 if it is invalid."""
    try:
        seconds = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds <= LATEST_S else 0.0
