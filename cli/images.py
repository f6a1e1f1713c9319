"""Images of machines that were set up once: bake, images."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli import show
from cli.clusters import rescue_outputs
from cli.options import (
    check_asked,
    cluster_argument,
    confirm,
    dry_run_option,
    find_cluster,
    json_option,
    note_unasked,
    option,
    region_option,
    yes_option,
)
from infra.errors import NodeError

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.ec2.baked import Baked


@click.command()
@cluster_argument
@option("--as", "image", required=True, metavar="IMAGE", help="What the image is called from then on.")
@yes_option
def bake(name: str | None, image: str, yes: bool) -> None:
    """Make an image of a cluster's machine as it is set up now.

    It is clean of keys and jobs; gpujob up --image IMAGE boots it.

    What jobs wrote is fetched first. The machine reboots, keeps its lease, and no longer knows the jobs that it ran.
    """
    from infra import baking, names, power

    names.check_image_name(image)
    account, cluster = power.find(find_cluster(name))
    if cluster.node.state != "running":
        raise NodeError(f"'{cluster.name}' is {cluster.node.state}", f"gpujob start {cluster.name}")
    begun = baking.find_begun(account, cluster, image)
    if begun is None:
        confirm(f"Remove jobs, keys and histories from '{cluster.name}', reboot it, and make '{image}' of it?",
                yes or cluster.cloud == "local")  # fmt: skip
        rescue_outputs(cluster.name, [account], yes=yes, keeps_home=True)
    with show.progress() as report:
        made = baking.bake(account, cluster, image, report)
    show.say(f"'{image}' is made: at most {made.size_gb:.0f} GB, {show.usd(made.month_usd)} a month. '{cluster.name}' is up"
             f" again, with new host keys. Next: gpujob up --image {image}")  # fmt: skip
    if cluster.cloud == "local":
        show.say("the local cloud keeps it as long as it runs: gpujob images rm, or gpujob local stop, ends that")


@click.group(invoke_without_command=True)
@click.pass_context
@dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Ask every region that is switched on for the account.")
@json_option
def images(context: click.Context, dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List the images that gpujob bake made, and what they cost.

    gpujob images rm IMAGE removes one with its snapshots.
    """
    context.obj = (dry_run, region, all_regions)
    if context.invoked_subcommand:
        return
    from infra.ec2.baked import list_baked

    places = accounts(*context.obj)
    found = [image for account in places for image in list_baked(account)]
    facts = [asdict(image) | {"month_usd": image.month_usd} for image in found]
    empty, least = "no images; gpujob bake --as NAME makes one", ("made by", "id", "created", "made of")
    show.listing([image_row(image) for image in found], as_json, facts, empty, least)
    if found and not as_json:
        total = show.usd(sum(image.month_usd for image in found))
        would = "would cost " * all(image.cloud == "local" for image in found)
        show.say(f"{show.plural(len(found), 'image')}: {would}at most {total} a month on AWS")
    note_unasked(dry_run, region, elsewhere=all_regions or any(account.cloud == "aws" for account in places))


@images.command()
@click.argument("image")
@dry_run_option
@region_option
@option("--all-regions", is_flag=True, help="Look in every region that is switched on for the account.")
@yes_option
@click.pass_context
def rm(context: click.Context, image: str, dry_run: bool, region: str | None, all_regions: bool, yes: bool) -> None:
    """Remove an image that you made, with its snapshots."""
    from infra import baking, names
    from infra.ec2.baked import list_baked

    names.check_image_name(image)
    above = context.obj
    asked = dry_run or above[0], region or above[1], all_regions or above[2]
    with show.progress() as report:
        report(f"looking for '{image}'")
        looked = accounts(*asked)
        places = [account for account in looked if list_baked(account, image)]
    if not places:
        check_asked(looked, asked[0], asked[1])
    confirm(f"Remove the image '{image}' from AWS?", yes or all(account.cloud == "local" for account in places))
    with show.progress() as report:
        saved = sum(baking.remove(account, image, report) for account in places)
    if places:
        show.say(f"'{image}' is gone, and so are its snapshots: {show.usd(saved)} a month less")
    else:
        show.say(f"nothing to do: there is no image '{image}'")


def accounts(dry_run: bool, region: str | None, everywhere: bool) -> "list[Account]":
    """Return where images may be: in the region asked for, else in boto3's own and those of clusters that are known here."""
    from infra import state
    from infra.clouds import open_all

    known = {(cluster.cloud, cluster.region) for cluster in state.recall_all()}
    return open_all(dry_run, set() if region else known, region, everywhere=everywhere)


def image_row(image: "Baked") -> dict[str, str]:
    """Return an image as a row of a listing."""
    return {
        "name": image.name,
        "state": image.state if image.state != "pending" else f"pending, {image.percent} %",
        "id": image.image_id,
        "where": f"local {image.region}" if image.cloud == "local" else image.region,
        "made of": f"{image.cluster}, {image.instance_type}, {image.base}",
        "made by": image.owner.rpartition("/")[2],
        "GB": f"{image.size_gb:.0f}",
        "USD a month": f"{image.month_usd:.2f}",
        "created": image.made_at[:16].replace("T", " "),
    }
