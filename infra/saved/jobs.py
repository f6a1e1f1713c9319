"""The jobs of a cluster in a bucket: found, listed, and read like those of a machine."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from infra.base.parallel import map_parallel
from infra.ec2.storage.objects import Store
from infra.errors import NodeError, NotFoundError
from infra.model import Cluster, Job, Output, TaskRecord
from infra.node.agent.bucket.layout import (
    LOG_BYTES,
    MANIFEST,
    OUT,
    PACK_BYTES,
    RECORD,
    attempt_prefix,
    log_name,
)
from infra.node.listing import Outputs
from infra.node.tasks import Portion
from infra.saved.arrays import merge_tasks
from infra.saved.manifests import Manifest, list_all, make_job, read_manifest, read_record
from infra.saved.sent import SentState

RESTARTS = 3


@dataclass(frozen=True)
class SavedJob:
    """A job of a bucket, whose machine may be gone; reads like a node."""

    store: Store
    prefix: str
    """Of its attempt."""
    cluster: Cluster
    job: Job
    rank: int = 0
    first: "SavedJob | None" = None
    """Of a part of a job over several nodes, the first part; None for that itself."""
    sent: SentState | None = None
    """What the bucket says of a sent job; None for one of an ordinary cluster."""

    @property
    def was_sent(self) -> bool:
        """Whether it was sent, and not run on an ordinary cluster."""
        return self.sent is not None

    @property
    def ended(self) -> bool:
        """Whether a sent job has ended: no machine is at work on it, or will be."""
        return bool(self.sent and self.sent.end)

    def interrupt(self) -> "SavedJob":
        """Return a sent job as the end of its group leaves it: interrupted, if it has not ended."""
        if not self.sent or self.sent.end:
            return self
        sent = self.sent.interrupt()
        return replace(self, sent=sent, job=sent.correct(self.job))

    def is_on(self, machines: Collection[str]) -> bool:
        """Return whether one of these machines works on a sent job, as far as it is claimed."""
        return not self.sent or not self.sent.claim.machine or self.sent.claim.machine in machines

    def lose(self) -> "SavedJob":
        """Return a sent job as the loss of its machine leaves it: queued for another."""
        if not self.sent:
            return self
        sent = replace(self.sent, lost=True)
        return replace(self, sent=sent, job=sent.correct(self.job))

    @property
    def root(self) -> str:
        """The prefix of all its objects: CLUSTER/TOKEN/."""
        return self.prefix.partition("tasks/")[0]

    @cached_property
    def parts(self) -> "tuple[SavedJob, ...]":
        """Its parts on all nodes that have uploaded something, in order; of a job on one node itself."""
        ranks = range(self.rank + 1, min(self.job.nodes, len(self.cluster.nodes)))
        others = map_parallel(lambda rank: open_part(self.store, self.cluster, self.root, rank, self), ranks)
        return (self, *filter(None, others))

    @property
    def complete(self) -> bool:
        """Whether the bucket has all outputs of all of its parts."""
        try:
            return len(self.parts) == self.job.nodes and all(part.manifest.final for part in self.parts)
        except NotFoundError:
            return False

    @cached_property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """Of an array, what became of each task."""
        manifests = {}
        for part in self.parts if self.job.tasks else ():
            with suppress(NotFoundError):
                manifests[part.rank] = part.manifest
        return merge_tasks(manifests, self.cluster, self.current)

    @cached_property
    def manifest(self) -> Manifest:
        """What the bucket has; raises NotFoundError before the first upload."""
        try:
            found = read_manifest(self.store.get(f"{self.prefix}{MANIFEST}"))
        except NotFoundError as error:
            what = f"node {self.rank} of job" if self.job.nodes > 1 else "job"
            error.what = f"{what} {self.job.number} had not uploaded any outputs"
            raise
        if found.job.number != self.job.number and not self.sent:  # each attempt has a number of its own
            raise NodeError(
                f"the bucket has job {found.job.number} in the place of {self.job.number}", "gpujob bucket ls"
            )
        return found

    def list_outputs(self, *_: object) -> tuple[Job, Outputs]:
        """Return the job and its outputs; a terminated machine can be asked nothing more."""
        return self.current, list_all(self.manifest, self.current)

    @property
    def current(self) -> Job:
        """The job as the manifest has it, which is written after the record; else as that does."""
        try:
            job = make_job(self.manifest.job, ended=self.sent is None)
        except NotFoundError:
            return self.job
        return replace(self.sent.correct(job) if self.sent else job, log_bytes=self.manifest.log_bytes)

    def receive(self, wanted: Mapping[Output, int], take: Callable[[Output, Iterator[bytes]], None]) -> None:
        """Pass the last so many bytes of these outputs to `take`; a pack comes in one request."""
        places = {each.sha256: (each.object, each.offset) for each in self.manifest.outputs if each.object}
        shared: dict[str, list[tuple[int, Output]]] = {}
        for output in wanted:
            name, offset = places.get(output.sha256, ("", 0))
            shared.setdefault(name, []).append((offset, output))
        for name, outputs in shared.items():
            outputs.sort(key=lambda each: each[0])
            start, end = outputs[0][0], max(offset + output.size_bytes for offset, output in outputs)
            content = b""
            with suppress(NotFoundError):  # replaced since the manifest was read
                if name and len(outputs) > 1 and end - start <= PACK_BYTES:
                    content = b"".join(self.store.read(f"{self.prefix}{OUT}{name}", start, end - start))
                for offset, output in outputs:
                    skipped = output.size_bytes - wanted[output]
                    rest = content[offset - start + skipped : offset - start + output.size_bytes]
                    take(output, iter([rest]) if content else self.read_object(name, offset + skipped, wanted[output]))

    def read_object(self, name: str, start: int, size_bytes: int) -> Iterator[bytes]:
        """Yield bytes of an object; none without a name, for an empty file."""
        return self.store.read(f"{self.prefix}{OUT}{name}", start, size_bytes) if name else iter(())

    def read_log(self, offset: int) -> Iterator[bytes]:
        """Yield the log from an offset on, as far as it is in the bucket."""
        while offset < self.manifest.log_bytes:
            piece, start = divmod(offset, LOG_BYTES)
            size_bytes = min(LOG_BYTES - start, self.manifest.log_bytes - offset)
            yield from self.store.read(f"{self.prefix}{log_name(piece)}", start, size_bytes)
            offset += size_bytes

    def mark_fetched(self) -> None:
        """Do nothing: the bucket keeps it until it is removed."""

    def find_portion(self, *_: object) -> Portion | None:
        """Return what this part has of an array; None for another job."""
        first = self.first or self
        return Portion(self.rank, first.current, first.tasks, asked=0) if self.job.tasks else None

    def find_task(self, _: int) -> None:
        """Return nothing: only the tasks of a sent array are jobs of their own."""


def open_part(store: Store, cluster: Cluster, root: str, rank: int, first: SavedJob) -> SavedJob | None:
    """Return the part of a job on another node than the first; None if it uploaded nothing."""
    place = attempt_prefix(root, rank)
    with suppress(NotFoundError):
        job = make_job(read_record(store.get(f"{place}{RECORD}")).job, ended=True)
        if job.number != first.job.number:
            raise NodeError(
                f"node {rank} uploaded job {job.number} in the place of {first.job.number}", "gpujob bucket ls"
            )
        return SavedJob(store, place, cluster, job, rank, first)
    return None
