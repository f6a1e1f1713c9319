"""What machines uploaded: bucket ls, du, rm."""

from typing import TYPE_CHECKING

import click

from cli.facts.times import with_instants
from cli.options.declared import dry_run_option, json_option, personal_region_option, typed_option, yes_option
from cli.options.sources import read_chosen
from cli.terminal import formats, show
from cli.terminal.questions import confirm
from cli.uploads.stored import describe_usage, open_named
from infra.errors import LossError, UsageError
from infra.names import BUCKET

if TYPE_CHECKING:
    from infra.ec2.storage.objects import Store
    from infra.saved.usage import StoredJob, Usage

bucket_argument = click.argument("name", metavar="[BUCKET]", required=False)


@click.group()
def bucket() -> None:
    """Inspect and empty the bucket that machines upload to.

    BUCKET is a name, or auto for gpujob-ACCOUNT-REGION, by default the one that gpujob.toml sets for gpujob up.
    """


@bucket.command()
@bucket_argument
@dry_run_option
@personal_region_option
@json_option
def ls(name: str | None, dry_run: bool, region: str | None, as_json: bool) -> None:
    """List the jobs in a bucket, with their size."""
    from infra.saved.usage import find_complete, list_stored

    store = open_store(name, dry_run, region)
    found = list_stored(store)
    whole = find_complete(store, found)
    facts = [job_facts(job, job in whole) for job in found]
    rows = [job_row(job, job in whole) for job in found]
    show.listing(rows, as_json, facts, f"no jobs in the bucket {store.bucket}", ("objects",))


@bucket.command()
@bucket_argument
@dry_run_option
@personal_region_option
@json_option
def du(name: str | None, dry_run: bool, region: str | None, as_json: bool) -> None:
    """Show what a bucket stores, and what that costs each month."""
    from infra.saved.usage import measure

    store = open_store(name, dry_run, region)
    found = measure(store)
    show.echo_json(bucket_facts(store.bucket, found)) if as_json else show.echo(describe_usage(store, found))


@bucket.command()
@bucket_argument
@typed_option("--cluster", envvar=None, metavar="NAME", help="Only the jobs of this cluster.")
@typed_option("--all", "everything", is_flag=True, help="The jobs of all clusters.")
@dry_run_option
@personal_region_option
@yes_option
def rm(name: str | None, cluster: str | None, everything: bool, dry_run: bool, region: str | None, yes: bool) -> None:
    """Delete the jobs of a cluster, or all, from a bucket.

    What was downloaded stays in runs/. A sent job that has not ended is kept.
    """
    from infra.saved.usage import find_kept, list_stored, remove

    if bool(cluster) == everything:
        asked = name or read_chosen(click.get_current_context()).bucket or "auto"
        raise UsageError("expected --cluster or --all", f"gpujob bucket rm {asked} --cluster NAME")
    store = open_store(name, dry_run, region)
    stored = list_stored(store, cluster or "")
    kept = find_kept(store, stored)
    found = [job for job in stored if job not in kept]
    if not found and not kept:
        show.say(f"nothing to do: no such jobs in the bucket {store.bucket}")
        return
    if found:
        size = formats.size(sum(job.size_bytes for job in found))
        confirm(f"Delete {formats.plural(len(found), 'job')} ({size}) from {store.bucket}?", yes)
        show.say(f"deleted {formats.plural(remove(store, found), 'object')}")
    if kept:
        names = [job.cluster for job in kept]
        what = f"the sent job of {', '.join(names)} has not ended, and keeps its objects"
        raise LossError(what, f"gpujob cancel --cluster {names[0]}; rerun when it has ended")


def job_facts(job: "StoredJob", complete: bool) -> dict[str, object]:
    """Return what --json prints of a stored job."""
    names = ("cluster", "token", "objects", "size_bytes", "modified_at")
    return with_instants({name: getattr(job, name) for name in names} | {"complete": complete}, "modified_at")


def job_row(job: "StoredJob", complete: bool) -> dict[str, str]:
    """Return a stored job as a row of a table."""
    return {
        "job": job.prefix.rstrip("/"),
        "size": formats.size(job.size_bytes),
        "objects": str(job.objects),
        "updated": formats.clock(job.modified_at),
        "complete": "yes" if complete else "no",
    }


def bucket_facts(name: str, found: "Usage") -> dict[str, object]:
    """Return what --json prints of a bucket."""
    return {"bucket": name, **vars(found)}


def open_store(name: str | None, dry_run: bool, region: str | None) -> "Store":
    """Return the bucket that was named, or is set for `up`; raises UsageError without any."""
    from infra.cluster.clouds import open_account

    context = click.get_current_context()
    asked = name or read_chosen(context).bucket
    only = f" --cluster {context.params['cluster']}" if context.params.get("cluster") else ""
    hint = f"gpujob bucket {context.info_name} auto{only}{' --all' * bool(context.params.get('everything'))}"
    if not asked or not BUCKET.fullmatch(asked):
        raise UsageError(f"invalid bucket name '{asked}'" if asked else "no bucket was named", hint)
    return open_named(open_account(dry_run, (region,) if region else ()), asked)
