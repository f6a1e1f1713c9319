"""The records of a job in its bucket, decoded like the answers of a machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from infra.base.decoding import decode, parse
from infra.errors import NodeError
from infra.model import Job, Output, TaskRecord
from infra.node.agent.bucket.layout import VERSION
from infra.node.listing import MOST, Held, JobReply, Left, NodePath, Outputs
from infra.node.tasks import check_values
from infra.saved.machines import SavedMachine

HINT = "gpujob bucket ls"


@dataclass(frozen=True, kw_only=True)
class SavedOutput(Output):
    """An output, and where its bytes are: an object, and the offset there."""

    object: Annotated[str, re.compile("[0-9a-f]{64}|")] = ""
    offset: int = 0

    __hash__ = Output.__hash__


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bucket has of a job's outputs."""

    version: int
    job: JobReply
    round: int
    final: bool
    """Whether the job had ended, and these are all of its outputs."""
    log_bytes: int
    written_at: float
    put_requests: int
    objects: Mapping[str, Any]
    """The size of each object that it mentions."""
    outputs: tuple[SavedOutput, ...] = ()
    unreadable: tuple[NodePath, ...] = ()
    unsettled: tuple[NodePath, ...] = ()
    missing: tuple[NodePath, ...] = ()
    held: tuple[Held, ...] = ()
    excluded: tuple[Held, ...] = ()
    left: tuple[Left, ...] = ()
    left_complete: bool = True
    tasks: tuple[TaskRecord, ...] = ()
    """Of an array, as its machine knows them: that with rank 0 all of them."""


@dataclass(frozen=True)
class JobRecord:
    """A job, and its machine."""

    version: int
    job: JobReply
    cluster: SavedMachine


def read_manifest(content: bytes) -> Manifest:
    """Return a manifest; raises NodeError for an invalid one."""
    found = decode(Manifest, parse(content, HINT))
    check_version(found.version)
    if len(found.outputs) > MOST:
        raise NodeError(f"the job has more than {MOST:,} outputs", HINT)
    check_values(found.tasks)
    return found


def read_record(content: bytes) -> JobRecord:
    """Return a job's record; raises NodeError for an invalid one."""
    found = decode(JobRecord, parse(content, HINT))
    check_version(found.version)
    return found


def check_version(version: int) -> None:
    """Raise NodeError for the records of a later gpujob."""
    if version != VERSION:
        raise NodeError(f"the bucket has records of another version of gpujob ({version})", "update gpujob")


def make_job(reply: JobReply, *, ended: bool) -> Job:
    """Return a job as it was uploaded last; if its machine has `ended`, the job has as well."""
    job = Job(**{field.name: getattr(reply, field.name) for field in fields(Job)})
    if job.over or not ended:
        return job
    tasks = job.tasks
    if tasks:  # those that had not ended were interrupted
        failed = tasks.failed + tasks.running + tasks.left
        tasks = replace(tasks, failed=failed, running=0, left=0, left_s=None)
    return replace(job, state="interrupted", reason="its machine ended before it did", tasks=tasks)


def list_all(manifest: Manifest, job: Job) -> Outputs:
    """Return a manifest in the form of an agent's answer."""
    plain = [field.name for field in fields(Output)]
    outputs = tuple(Output(**{name: getattr(each, name) for name in plain}) for each in manifest.outputs)
    same = ("unreadable", "unsettled", "missing", "held", "excluded", "left", "left_complete")
    kept = {name: getattr(manifest, name) for name in same}
    reply = JobReply(**{field.name: getattr(job, field.name) for field in fields(Job)}, now=manifest.job.now)
    return Outputs(job=reply, outputs=outputs, **kept)
