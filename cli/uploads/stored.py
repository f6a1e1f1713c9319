"""What the bucket of a cluster has, and what that costs."""

from typing import TYPE_CHECKING

from cli.options.context import is_dry_run
from cli.terminal import clouds, formats, show
from infra.errors import GpujobError, NotFoundError

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.ec2.storage.objects import Store
    from infra.model import Cluster, Job
    from infra.saved.usage import Usage


def open_store(cluster: "Cluster") -> "Store":
    """Return the bucket of a recorded cluster; raises CloudError."""
    from infra.cluster.clouds import open_cloud
    from infra.ec2.storage.objects import Store

    return Store(open_cloud(cluster.cloud, cluster.region), cluster.bucket)


def is_saved(cluster: "Cluster", job: "Job") -> bool:
    """Return whether the bucket of a cluster has all outputs of a job of its machine."""
    if not cluster.bucket or not job.over:
        return False
    from infra.saved.search import list_saved

    try:
        found = [each for each in list_saved(open_store(cluster), cluster.name) if each.job.number == job.number]
        return any(
            each.cluster.nodes[0].instance_id == cluster.nodes[0].instance_id and each.complete for each in found
        )
    except GpujobError:
        return False


def show_stored(cluster: "Cluster") -> None:
    """Say what stays in the bucket of a terminated cluster, and what it costs each month."""
    from infra.saved.usage import measure

    try:
        found = measure(open_store(cluster), cluster.name)
    except GpujobError as error:
        show.say(f"its jobs stay in the bucket {cluster.bucket}; their size is unknown: {error.what}")
        return
    if found.jobs:
        what = f"{formats.plural(found.jobs, 'job')} ({formats.size(found.size_bytes)})"
        cost = clouds.most(found.month_usd, cluster.cloud)
        remove = f"gpujob bucket rm {cluster.bucket} --cluster {cluster.name}{place_flags(cluster)}"
        show.say(f"kept in the bucket {cluster.bucket}: {what} of {cluster.name}, {cost} per month\n  remove: {remove}")


def place_flags(cluster: "Cluster") -> str:
    """Return the flags that tell a command in which cloud and region the bucket of a cluster is."""
    from infra.ec2.account import default_region  # this loads boto3

    usual = "us-east-1" if cluster.is_local else default_region()
    region = "" if cluster.region == usual else f" --region {cluster.region}"
    return " --dry-run" * (cluster.is_local and not is_dry_run()) + region


def describe_usage(store: "Store", found: "Usage") -> str:
    """Return what a bucket stores, and what that costs each month."""
    cost = clouds.most(found.month_usd, store.account.cloud)
    stored = f"{store.bucket}: {formats.plural(found.jobs, 'job')}, {formats.size(found.size_bytes)}, {cost} per month"
    if not found.put_requests:
        return stored
    paid = clouds.most(found.requests_usd, store.account.cloud)
    return f"{stored}; uploading took {formats.plural(found.put_requests, 'request')}, {paid} once"


def open_named(account: "Account", asked: str) -> "Store":
    """Return a bucket of the account, by name or as `auto`; raises CloudError for any other."""
    from infra.ec2.storage.buckets import AUTO, check_place, name_bucket
    from infra.ec2.storage.objects import Store

    store = Store(account, name_bucket(account, asked))
    try:
        check_place(account, store.bucket)
    except NotFoundError as error:
        make = "gpujob up --bucket auto, which makes it; in another region: --region REGION"
        error.hint = make if asked == AUTO else "gpujob bucket ls auto"
        raise
    return store
