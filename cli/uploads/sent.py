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
    from infra.ec2.storage.writing import put_object  # this loads boto3
    from infra.fetch.sent import find_last

    store = open_store(name)
    job = find_last(store, name) if store else None
    if store is None or job is None:
        return False
    if job.ended:
        show.say(f"nothing to do: job {job.job.number} {job.job.state}")
        return True
    put_object(store, f"{job.root}stop", b"{}")
    show.say(f"job {job.job.number} will stop within 20 s; then its machine saves what it wrote, and ends")
    return True
