"""What a machine of a sent job knows: where its state is, and how often to do what."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from ..aws.s3 import Bucket, open_bucket
from ..aws.service import Service
from ..aws.wire import NotThereError
from ..bucket.layout import SENT
from ..records import HOME, AgentError, read_json

CONFIG = HOME / "sent.json"  # written by the boot program, from the user data
FOLDER = HOME / "sent"


class Times(NamedTuple):
    """How often a machine does what, in seconds; tests shorten them."""

    renew_s: float = 20.0
    stale_s: float = 60.0
    """A claim that has not changed for this long is free: three renewals are missing."""
    upload_s: float = 60.0
    first_s: float = 10.0
    """Until the first upload, so that one soon sees how the job began; the pause doubles up to `upload_s`."""
    notice_s: float = 75.0
    """After a notice of two minutes, uploading starts now, whether the job has ended or not."""
    stop_s: float = 30.0
    """The same when the machine is shut down; after twice as long its claims are released. Systemd waits 90 s for a service."""
    last_s: float = 20.0
    """So long before the end of the lease, too."""
    poll_s: float = 1.0
    pause_s: float = 5.0
    """After a fault, before the next try; where it is tried until the lease ends, each further pause is twice as long."""


class Place(NamedTuple):
    """Where the state of a sent job is, and the machine that works on it."""

    bucket: Bucket
    prefix: str
    """With the slash at its end."""
    machine: str
    group: str
    region: str
    endpoint: str
    """Of a local cloud; "" on AWS."""
    about: dict[str, Any]
    """What the records of its jobs say of the machine."""

    def service(self, name: str) -> Service:
        """Return one of AWS's services where the job is."""
        return Service(name, self.region, self.endpoint)

    def key(self, *parts: object) -> str:
        """Return the key of one of the job's objects."""
        return self.prefix + "/".join(map(str, parts))

    def read(self, *parts: object) -> tuple[dict[str, Any], str]:
        """Return an object's JSON and its ETag; an empty one and "" if there is none."""
        return self.read_aged(*parts)[:2]

    def read_aged(self, *parts: object) -> tuple[dict[str, Any], str, float]:
        """Return an object's JSON, its ETag, and how long ago it was written by S3's clock."""
        try:
            body, etag, age_s = self.bucket.get_aged(self.key(*parts))
        except NotThereError:
            return {}, "", 0.0
        return dict(json.loads(body)), etag, age_s

    def exists(self, *parts: object) -> bool:
        """Return whether an object exists."""
        try:
            self.bucket.head(self.key(*parts))
        except NotThereError:
            return False
        return True

    def write(self, content: Mapping[str, Any], *parts: object, absent: bool = False, match: str = "") -> str:
        """Write JSON to an object; return its ETag. Raises TakenError if the condition does not hold."""
        return self.bucket.put(self.key(*parts), json.dumps(content).encode(), absent=absent, match=match)


class Sent(NamedTuple):
    """A sent job, as the laptop described it."""

    request: dict[str, Any]
    contents: list[list[Any]]
    """SHA-256 and size of each content in the pack, in order."""
    pack: dict[str, Any]
    tasks: int
    retries: int
    warning_s: float
    """How long before the end of its lease a machine warns its jobs."""
    times: Times
    secrets: list[str]
    """The names of the variables whose values are in the Parameter Store."""
    array: dict[str, Any] | None = None
    """Of an array: `tasks` with the index and values of each, and how many `gpus` a machine has."""

    @property
    def number(self) -> int:
        """The number that the job has on the laptop."""
        return int(self.request["after"]) + 1

    @property
    def values(self) -> dict[int, dict[str, str]]:
        """What a grid sets for each task, by its number: of an array that is its index."""
        if not self.array:
            return {task: {} for task in range(self.tasks)}
        return {task["index"]: task["values"] for task in self.array["tasks"]}

    @property
    def places(self) -> int:
        """How many tasks a machine runs at a time: one on each GPU, without GPUs one on each core."""
        return (int(self.array["gpus"]) or os.cpu_count() or 1) if self.array else 1


def open_place(config: Path = CONFIG) -> Place:
    """Return where the job of this machine is; raises AgentError if it has none."""
    about = read_json(config)
    if not about:
        raise AgentError("this machine has no sent job")
    bucket = open_bucket(about["bucket"], patience_s=float(about.get("patience_s", 60)))
    region, endpoint = about["bucket"]["region"], about["bucket"].get("endpoint", "")
    machine = about["machine"]
    return Place(bucket, about["prefix"], machine["instance_id"], about["group"], region, endpoint, machine)


def read_sent(place: Place) -> Sent:
    """Return the job as the laptop described it; raises AgentError without it."""
    about, _ = place.read(SENT)
    if not about:
        raise AgentError("the job is no longer in its bucket")
    times = Times(**about.get("times", {}))
    kept = {name: about[name] for name in Sent._fields if name not in ("times", "array")}
    return Sent(**kept, times=times, array=about.get("array"))
