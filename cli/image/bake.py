"""Create an image from a machine: bake."""

from typing import TYPE_CHECKING

import click

from cli.options.context import check_variable, find_cluster
from cli.options.declared import option, typed_cluster_argument, typed_option, yes_option
from cli.steps.termination import drain_outputs, drain_terms
from cli.terminal import progress, show
from cli.terminal.questions import confirm
from infra import names
from infra.base.money import format_rate
from infra.cluster.logins import check_rank
from infra.errors import NodeError
from infra.image import build

if TYPE_CHECKING:
    from infra.ec2.machines.own_images import Baked
    from infra.model import Cluster


@click.command()
@typed_cluster_argument
@typed_option("--as", "image", required=True, metavar="IMAGE", help="Name of the new image.")
@option("--node", type=click.IntRange(0), default=0, metavar="RANK", help="Node of the cluster, from 0.")
@yes_option
def bake(name: str | None, image: str, node: int, yes: bool) -> None:
    """Create an image from a machine of a cluster.

    Downloads outputs first, then removes jobs, keys, histories and personal settings (.bashrc, ~/.local/bin) from the
    machine and reboots it. The lease does not change. To boot the image: gpujob up --image IMAGE
    """
    names.check_image_name(image)
    check_variable(name, f"gpujob bake {{name}} --as {image}")
    known = find_cluster(name)
    check_rank(known, node)
    account, cluster = build.find(known, node)
    if cluster.node.state != "running":
        raise NodeError(f"'{cluster.name}' is {cluster.node.state}", f"gpujob start {cluster.name}")
    begun = build.find_begun(account, cluster, image)
    if begun is None:
        removed = f"Remove jobs, keys, histories and settings from '{cluster.name}'"
        confirm(f"{removed}, reboot it and create image '{image}'?", yes or cluster.is_local)
        drain_outputs(cluster.name, [account], drain_terms(yes, keeps_home=True))
    with progress.steps() as report:
        made = build.bake(account, cluster, image, report)
    show_made(cluster, image, made)


def show_made(cluster: "Cluster", image: str, made: "Baked") -> None:
    """Print the cost of the new image and how to boot it."""
    price = f"at most {made.size_gb:.0f} GiB, {format_rate(made.month_usd, 'month')}"
    show.say(f"created image '{image}' ({price}); '{cluster.name}' is running again, with new host keys")
    show.say(f"boot it: gpujob up {cluster.name[:38]}-2 --image {image}" + " --dry-run" * cluster.is_local)
    if cluster.is_local:
        show.say(f"the local cloud keeps running for it. Remove it: gpujob images rm {image} --dry-run")
