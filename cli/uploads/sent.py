"""What is done to a sent job without reaching its machines: they look into the bucket."""

from cli.options.context import adopt
from cli.terminal import show
from cli.uploads.jobs import open_store
from infra.ledger.known_clusters import recall


def stop_sent(name: str) -> bool:
    """Let the machines of a sent job end it; return whether this cluster's job was sent."""
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
        return False
    if job and job.ended:
        show.say(f"nothing to do: job {job.job.number} {job.job.state}")
        return True
    put_object(store, f"{prefix}stop", b"{}")
    if job:
        show.say(f"job {job.job.number} will stop within 20 s; then its machine saves what it wrote, and ends")
    else:
        show.say(f"job {read_number(store, prefix)} has not begun, and ends as soon as a machine looks at it")
    return True
