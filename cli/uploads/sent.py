"""What is done to a sent job without reaching its machines: they look into the bucket."""

from collections.abc import Sequence

from cli.options.context import adopt
from cli.options.values import JobName
from cli.terminal import show
from cli.uploads.jobs import describe_unbegun, open_store
from infra.errors import NotFoundError, UsageError
from infra.ledger.known_clusters import recall


def stop_sent(name: str, asked: Sequence[JobName], tasks: Sequence[object]) -> bool:
    """Let the machines of a sent job end it; return whether this cluster's job was sent.

    Raises NotFoundError for another job or before a machine has begun it, and UsageError for single tasks of it.
    """
    known = recall(name) or adopt(name)
    if known is None or not known.sent:
        return False
    from infra.cluster.groups import find_prefix
    from infra.ec2.storage.writing import put_object  # this loads boto3
    from infra.fetch.sent import find_last
    from infra.saved.sent import read_number

    store = open_store(name)
    job = find_last(store, name) if store else None
    prefix = job.root if job else find_prefix(store.account, name) if store else ""
    if store is None or not prefix:
        raise NotFoundError(describe_unbegun(name), f"gpujob down {name}")
    number = job.job.number if job else read_number(store, prefix)
    other = next((each for each in asked if each not in (number, job.job.name if job else "")), None)
    if other is not None:
        raise NotFoundError(f"the machines of '{name}' do not work on job {other}", f"gpujob jobs --cluster {name}")
    if job and job.ended:
        show.say(f"nothing to do: job {number} {job.job.state}")
        return True
    if tasks:
        what = f"tasks of job {number} cannot be stopped one by one, as it was sent"
        raise UsageError(what, f"stop all of it: gpujob cancel --cluster {name} {number}")
    put_object(store, f"{prefix}stop", b"{}")
    if job:
        show.say(f"job {number} will stop within 20 s; then its machine saves what it wrote, and ends")
    else:
        show.say(f"job {number} has not begun, and ends as soon as a machine looks at it")
    return True
