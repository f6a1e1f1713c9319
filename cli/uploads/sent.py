"""What is done to a sent job without reaching its machines: they look into the bucket."""

from collections.abc import Sequence

from cli.options.context import adopt
from cli.options.values import JobName
from cli.terminal import show
from cli.uploads.jobs import open_store
from infra.errors import NotFoundError, UsageError
from infra.ledger.known_clusters import recall


def stop_sent(name: str, asked: Sequence[JobName], tasks: Sequence[object]) -> bool:
    """Let the machines of a sent job end it; return whether this cluster's job was sent.

    Raises NotFoundError for another job or before a machine has begun it, and UsageError for single tasks of it.
    """
    known = recall(name) or adopt(name)
    if known is None or not known.sent:
        return False
    from infra.ec2.storage.writing import put_object  # this loads boto3
    from infra.fetch.sent import find_last

    store = open_store(name)
    job = find_last(store, name) if store else None
    if store is None or job is None:
        raise NotFoundError(f"no machine of '{name}' has begun the job yet", f"gpujob down {name}")
    other = next((each for each in asked if each not in (job.job.number, job.job.name)), None)
    if other is not None:
        raise NotFoundError(f"the machines of '{name}' do not work on job {other}", f"gpujob jobs --cluster {name}")
    if job.ended:
        show.say(f"nothing to do: job {job.job.number} {job.job.state}")
        return True
    if tasks:
        what = f"tasks of job {job.job.number} cannot be stopped one by one, as it was sent"
        raise UsageError(what, f"stop all of it: gpujob cancel --cluster {name} {job.job.number}")
    put_object(store, f"{job.root}stop", b"{}")
    show.say(f"job {job.job.number} will stop within 20 s; then its machine saves what it wrote, and ends")
    return True
