"""Images of machines that were set up once: bake, images."""

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.cluster.removal import drain_outputs
from cli.notices.asked import Scope, check_asked, report_unasked, widen
from cli.options.context import check_variable, find_cluster
from cli.options.declared import (
    dry_run_option,
    if_exists_option,
    json_option,
    option,
    personal_region_option,
    typed_cluster_argument,
    typed_option,
    yes_option,
)
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.errors import NodeError, NotFoundError

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.ec2.machines.own_images import Baked


@click.command()
@typed_cluster_argument
@typed_option("--as", "image", required=True, metavar="IMAGE", help="Name of the new image.")
@yes_option
def bake(name: str | None, image: str, yes: bool) -> None:
    """Make an image of a cluster's machine as it is set up now.

    It has no keys, jobs, histories or personal settings (.bashrc, ~/.local/bin) on it; gpujob up --image IMAGE boots it.

    What jobs wrote is downloaded first. The machine reboots, keeps its lease, and no longer has the jobs that it ran.
    """
    from infra import names
    from infra.image import build
    from infra.launch import power

    names.check_image_name(image)
    check_variable(name, f"gpujob bake {{name}} --as {image}")
    account, cluster = power.find(find_cluster(name))
    if cluster.node.state != "running":
        raise NodeError(f"'{cluster.name}' is {cluster.node.state}", f"gpujob start {cluster.name}")
    begun = build.find_begun(account, cluster, image)
    if begun is None:
        confirm(f"Remove jobs, keys, histories and settings from '{cluster.name}', reboot it, and make '{image}' of it?",
                yes or cluster.cloud == "local")  # fmt: skip
        drain_outputs(cluster.name, [account], yes=yes, keeps_home=True)
    with show.progress() as report:
        made = build.bake(account, cluster, image, report)
    show.say(f"'{image}' is made: at most {made.size_gb:.0f} GB, {show.usd(made.month_usd)} a month. '{cluster.name}' is up"
             f" again, with new host keys")  # fmt: skip
    dry_run = " --dry-run" * (cluster.cloud == "local")
    show.say(f"boot it: gpujob up {cluster.name[:38]}-2 --image {image}{dry_run}")
    if cluster.cloud == "local":
        show.say("the local cloud keeps it as long as it runs: gpujob images rm, or gpujob local stop, ends that")


@click.group(invoke_without_command=True)
@click.pass_context
@dry_run_option
@personal_region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@json_option
def images(context: click.Context, dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List the images that gpujob bake made, and what they cost.

    gpujob images rm IMAGE removes one with its snapshots.
    """
    context.obj = Scope(dry_run, region, all_regions)
    if context.invoked_subcommand:
        return
    from infra.ec2.machines.own_images import list_baked

    places = accounts(context.obj)
    found = [image for account in places for image in list_baked(account)]
    facts = [asdict(image) | {"month_usd": image.month_usd} for image in found]
    empty = f"no images {context.obj}; gpujob bake --as NAME makes one"
    droppable = ("owner", "id", "created", "made of")
    show.listing([image_row(image) for image in found], as_json, facts, empty, droppable)
    if found and not as_json:
        total = show.usd(sum(image.month_usd for image in found))
        would = "would cost " * all(image.cloud == "local" for image in found)
        show.say(f"{show.plural(len(found), 'image')}: {would}at most {total} a month on AWS")
    report_unasked(context.obj, "gpujob images")


@images.command()
@click.argument("image")
@dry_run_option
@personal_region_option
@typed_option("--all-regions", is_flag=True, help="Remove it in every region that is switched on for the account.")
@if_exists_option
@yes_option
@click.pass_context
def rm(
    context: click.Context, image: str, dry_run: bool, region: str | None, all_regions: bool, if_exists: bool, yes: bool
) -> None:
    """Remove an image that you made, with its snapshots."""
    from infra import names
    from infra.ec2.machines.own_images import list_baked
    from infra.image import build

    names.check_image_name(image)
    scope = Scope(dry_run or context.obj.dry_run, region or context.obj.region, all_regions)
    with show.progress() as report:
        report(f"looking for '{image}'")
        places = [account for account in accounts(scope) if list_baked(account, image)]
    if not places:
        report_missing(image, scope, if_exists)
        return
    where = ", ".join(account.region for account in places)
    confirm(f"Remove the image '{image}' ({where}) from AWS?", yes or all(one.cloud == "local" for one in places))
    with show.progress() as report:
        saved = sum(build.remove(account, image, report) for account in places)
    show.say(f"removed '{image}' and its snapshots: {show.usd(saved)} a month less")


def report_missing(image: str, scope: Scope, if_exists: bool) -> None:
    """Say that there is no image of this name if that is fine; raises NotFoundError, with the nearest names, if not."""
    from infra.ec2.machines.own_images import list_baked

    check_asked(scope, f"gpujob images rm {image}")
    what = f"no image '{image}' {scope}"
    if if_exists:
        show.say(f"nothing to do: {what}")
        return
    there = {found.name: found for account in accounts(scope) for found in list_baked(account)}
    near = [there[name] for name in difflib.get_close_matches(image, there, 3)]
    if not near:
        raise NotFoundError(what, widen("gpujob images", scope))
    offered = ", ".join(f"{one.name} (${one.month_usd:.2f} a month)" for one in near)
    raise NotFoundError(
        f"{what}. Did you mean {offered}?", ", or: ".join(f"gpujob images rm {one.name}" for one in near)
    )


def accounts(scope: Scope) -> "list[Account]":
    """Return where images may be: in the region asked for, else in boto3's own and those of clusters that are known here."""
    from infra.cluster.clouds import open_all
    from infra.ledger import known_clusters

    known = {(cluster.cloud, cluster.region) for cluster in known_clusters.recall_all()}
    return open_all(scope.dry_run, set() if scope.region else known, scope.region, everywhere=scope.everywhere)


def image_row(image: "Baked") -> dict[str, str]:
    """Return an image as a row of a listing."""
    return {
        "name": image.name,
        "state": image.state if image.state != "pending" else f"pending, {image.percent} %",
        "id": image.image_id,
        "where": f"local {image.region}" if image.cloud == "local" else image.region,
        "made of": f"{image.cluster}, {image.instance_type}, {image.base}",
        "owner": image.owner.rpartition("/")[2],
        "GB": f"{image.size_gb:.0f}",
        "USD a month": f"{image.month_usd:.2f}",
        "created": image.made_at[:16].replace("T", " "),
    }
