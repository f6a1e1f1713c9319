"""Choose the cloud: AWS as configured for boto3, or the local cloud. Other code is the same for both."""

from infra.ec2.account import (
    Account,
    check_region,
    default_region,
    has_credentials,
    list_regions,
    make_plain_session,
    open_aws,
    open_local,
)
from infra.errors import CloudError, CredentialsError
from infra.ledger.attempts import read_attempt
from infra.ledger.known_clusters import recall, recall_all
from infra.model import CloudName
from infra.state import list_attempts, local_cloud_folder, state_folder


def start_local(region: str | None = None) -> Account:
    """Return the local cloud's account, starting the cloud if needed; raises CloudError if that fails."""
    from infra.local import process

    cloud = process.start(local_cloud_folder())
    return open_local(cloud.url, cloud.access_key, region)


def find_local(region: str | None = None) -> Account | None:
    """Return the local cloud's account if it is running, or None."""
    if not local_cloud_folder().exists():
        return None
    from infra.local import process

    cloud = process.find(local_cloud_folder())
    return open_local(cloud.url, cloud.access_key, region) if cloud else None


def stop_local() -> bool:
    """Stop the local cloud with all its hosts and processes; return whether it was running."""
    from infra.local import process

    return process.stop(local_cloud_folder())


def open_cloud(cloud: CloudName, region: str | None) -> Account:
    """Return the account of a recorded cluster; raises CloudError if its local cloud has stopped."""
    if cloud == "aws":
        return open_aws(region)
    account = find_local(region)
    if account is None:
        raise CloudError("the local cloud is not running")
    return account


def open_all(
    dry_run: bool, regions: set[tuple[CloudName, str]], region: str | None = None, *, everywhere: bool = False
) -> list[Account]:
    """Return every account and region in which clusters may exist, on AWS and the local cloud.

    On AWS in `region`, by default the one that boto3 finds, and in `regions`, or with `everywhere` in every enabled region of the
    account. With `dry_run` only on the local cloud. Raises UsageError for an unknown region.
    """
    if region:
        check_region(make_plain_session("none", region))
        regions = regions | {("local", region)}
    places = {("local", "us-east-1"), *regions}
    local = find_local()
    accounts = spread(local, {place for cloud, place in places if cloud == "local"}, everywhere) if local else []
    aws = {place for cloud, place in regions if cloud == "aws"}
    own = region or default_region()
    if not dry_run and (has_credentials() or aws) and (aws or own or everywhere):
        first = open_aws(own or min(aws, default="us-east-1"))
        accounts += spread(first, aws | {first.region}, everywhere)
    return accounts


def spread(account: Account, regions: set[str], everywhere: bool) -> list[Account]:
    """Return the account in these regions, or in all that are enabled for it."""
    names = regions | set(list_regions(account)) if everywhere else regions
    return [account.in_region(name) for name in sorted(names)]


def explain_unasked(region: str | None, *, everywhere: bool = False) -> CloudError | None:
    """Return why `open_all` omits AWS, such as missing credentials; None if it includes AWS."""
    if not has_credentials():
        return CredentialsError("no credentials found")
    known = not all(cluster.is_local for cluster in recall_all())
    return None if region or everywhere or known or default_region() else CloudError("no region is set")


def used_only_local() -> bool:
    """Return whether this computer has used the local cloud but, according to its records, never AWS."""
    names = {*(folder.name for folder in (state_folder() / "clusters").glob("*")), *list_attempts()}
    known = [recall(name) or read_attempt(name) for name in names]
    traces = [*(state_folder() / "costs").glob("aws-*"), *(state_folder() / "cache").glob("aws-*")]
    only_local = all(found is not None and found.cloud == "local" for found in known)
    return local_cloud_folder().exists() and only_local and not traces


def open_account(dry_run: bool, regions: tuple[str, ...]) -> Account:
    """Return the account in the first of these regions; raises UsageError if one of them is unknown."""
    first = regions[0] if regions else None
    account = start_local(first) if dry_run else open_aws(first)
    for region in regions[1:]:
        check_region(account.session, region)
    return account
