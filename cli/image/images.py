"""List and remove images: images, images rm."""

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.notices.asked import Scope, check_asked, report_unasked, say_unasked, widen
from cli.options.declared import (
    dry_run_option,
    if_exists_option,
    json_option,
    option,
    personal_region_option,
    typed_option,
    yes_option,
)
from cli.options.retype import retype_name
from cli.terminal import clouds, formats, progress, show
from cli.terminal.questions import confirm
from infra import names
from infra.base.money import format_rate
from infra.cluster.clouds import open_all
from infra.cluster.regions import ask_or_skip, ask_regions
from infra.ec2.machines.own_images import list_baked
from infra.errors import GpujobError, NotFoundError
from infra.ledger import builds, known_clusters

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.ec2.machines.own_images import Baked


@click.group(invoke_without_command=True)
@click.pass_context
@dry_run_option
@personal_region_option
@option("--all-regions", is_flag=True, help="Search all regions that are enabled for the account.")
@json_option
def images(context: click.Context, dry_run: bool, region: str | None, all_regions: bool, as_json: bool) -> None:
    """List images created by gpujob bake, and their cost.

    To remove one with its snapshots: gpujob images rm IMAGE
    """
    context.obj = Scope(dry_run, region, all_regions)
    if context.invoked_subcommand:
        return
    listed = ask_or_skip(list_baked, accounts(context.obj), say_unasked)
    found = [image for images_there in listed.values() for image in images_there]
    for image in found:
        builds.note_image(image.name)
    facts = [image_facts(image) for image in found]
    empty = f"no images {context.obj}. Create one: gpujob bake --as NAME"
    droppable = ("owner", "id", "created", "source")
    show.listing([image_row(image) for image in found], as_json, facts, empty, droppable)
    if found and not as_json:
        total = format_rate(sum(image.month_usd for image in found), "month")
        would = "would cost " * clouds.are_local(found)
        show.say(f"{formats.plural(len(found), 'image')}: {would}at most {total} on AWS")
    report_unasked(context.obj, "gpujob images")


@images.command()
@click.argument("image")
@dry_run_option
@personal_region_option
@typed_option("--all-regions", is_flag=True, help="Remove it in all regions that are enabled for the account.")
@if_exists_option
@yes_option
@click.pass_context
def rm(
    context: click.Context, image: str, dry_run: bool, region: str | None, all_regions: bool, if_exists: bool, yes: bool
) -> None:
    """Remove an image of yours, with its snapshots."""
    from infra.image import build  # loads fabric, which the listing does not need

    names.check_image_name(image)
    scope = Scope(dry_run or context.obj.dry_run, region or context.obj.region, all_regions)
    with progress.steps() as report:
        report(f"looking for '{image}'")
        listed, refused = ask_regions(lambda account: list_baked(account, image), accounts(scope))
    for account, error in refused.items():
        say_unasked(account, error)
    places = [account for account, found in listed.items() if found]
    if not places:
        report_missing(image, scope, if_exists)
        return
    where = ", ".join(account.region for account in places)
    confirm(f"Remove the image '{image}' ({where}) from AWS?", yes or clouds.are_local(places))
    with progress.steps() as report:
        saved = sum(build.remove(account, image, report) for account in places)
    builds.note_image(image, exists=False)
    rate = format_rate(saved, "month")
    saves = f"would save {rate} on AWS" if clouds.are_local(places) else f"saves {rate}"
    show.say(f"removed '{image}' and its snapshots; {saves}")
    if refused:
        unasked = ", ".join(account.region for account in refused)
        raise GpujobError(f"cannot tell whether '{image}' exists in {unasked}", "see the reasons above; then rerun")


def report_missing(image: str, scope: Scope, if_exists: bool) -> None:
    """Report a missing image; raises NotFoundError with similar names unless `if_exists`."""
    check_asked(scope, f"gpujob images rm {image}")
    what = f"no image '{image}' {scope}"
    if if_exists:
        show.say(f"nothing to do: {what}")
        return
    listed, _ = ask_regions(list_baked, accounts(scope))
    there = {found.name: found for images_there in listed.values() for found in images_there}
    near = [there[name] for name in difflib.get_close_matches(image, there, 3)]
    if not near:
        raise NotFoundError(what, widen("gpujob images", scope))
    offered = ", ".join(f"{one.name} ({format_rate(one.month_usd, 'month')})" for one in near)
    raise NotFoundError(f"{what}. Did you mean {offered}?", retype_name(image, [one.name for one in near]))


def accounts(scope: Scope) -> "list[Account]":
    """Return accounts that may have images: of the given region, or the default and known regions."""
    known = {(cluster.cloud, cluster.region) for cluster in known_clusters.recall_all()}
    return open_all(scope.dry_run, set() if scope.region else known, scope.region, everywhere=scope.everywhere)


def image_facts(image: "Baked") -> dict[str, object]:
    """Return an image for --json."""
    return {**asdict(image), "usd_per_month": image.month_usd}


def image_row(image: "Baked") -> dict[str, str]:
    """Return an image as a row of a listing."""
    return {
        "name": image.name,
        "state": image.state if image.state != "pending" else f"pending, {image.percent}%",
        "id": image.image_id,
        "where": clouds.place(image),
        "source": f"{image.cluster}, {image.instance_type}, {image.base}",
        "owner": image.owner.rpartition("/")[2],
        "size": f"{image.size_gb:.0f} GiB",
        "cost": format_rate(image.month_usd, "month"),
        "created": image.made_at[:16].replace("T", " "),
    }
