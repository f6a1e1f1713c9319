"""An image of a machine that was set up once: bake."""

from typing import TYPE_CHECKING

import click

from cli.options.context import check_variable, find_cluster
from cli.options.declared import typed_cluster_argument, typed_option, yes_option
from cli.steps.termination import drain_outputs, drain_terms
from cli.terminal import formats, progress, show
from cli.terminal.questions import confirm
from infra import names
from infra.errors import NodeError
from infra.image import build
from infra.launch import power

if TYPE_CHECKING:
    from infra.ec2.machines.own_images import Baked
    from infra.model import Cluster


@click.command()
@typed_cluster_argument
@typed_option("--as", "image", required=True, metavar="IMAGE", help="Name of the new image.")
@yes_option
def bake(name: str | None, image: str, yes: bool) -> None:
    """Make an image of a cluster's machine as it is set up now.

    It has no keys, jobs, histories or personal settings (.bashrc, ~/.local/bin) on it; gpujob up --image IMAGE boots it.

    What jobs wrote is downloaded first. The machine reboots, keeps its lease, and no longer has the jobs that it ran.
    """
    names.check_image_name(image)
    check_variable(name, f"gpujob bake {{name}} --as {image}")
    account, cluster = power.find(find_cluster(name))
    if cluster.node.state != "running":
        raise NodeError(f"'{cluster.name}' is {cluster.node.state}", f"gpujob start {cluster.name}")
    begun = build.find_begun(account, cluster, image)
    if begun is None:
        removed = f"Remove jobs, keys, histories and settings from '{cluster.name}'"
        confirm(f"{removed}, reboot it, and make '{image}' of it?", yes or cluster.is_local)
        drain_outputs(cluster.name, [account], drain_terms(yes, keeps_home=True))
    with progress.steps() as report:
        made = build.bake(account, cluster, image, report)
    show_made(cluster, image, made)


def show_made(cluster: "Cluster", image: str, made: "Baked") -> None:
    """Say what the new image costs, and how to boot it."""
    price = f"at most {made.size_gb:.0f} GB, {formats.usd(made.month_usd)} a month"
    show.say(f"'{image}' is made: {price}. '{cluster.name}' is up again, with new host keys")
    show.say(f"boot it: gpujob up {cluster.name[:38]}-2 --image {image}" + " --dry-run" * cluster.is_local)
    if cluster.is_local:
        show.say("the local cloud keeps it as long as it runs: gpujob images rm, or gpujob local stop, ends that")
