"""Connect with ssh: ssh, tunnel, ssh-config."""

from contextlib import suppress

import click

from cli.options.context import find_cluster
from cli.options.declared import SplitCommand, cluster_argument, cluster_option, option, yes_option
from cli.options.values import parse_ports
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.cluster import connections, logins
from infra.errors import UsageError
from infra.run.pages import hold_tunnel
from infra.ssh.forward import Forward
from infra.ssh.login import log_in

node_option = option("--node", type=click.IntRange(0), default=0, help="Index of the machine in the cluster, from 0.")


@click.command(cls=SplitCommand)
@cluster_argument
@node_option
@click.pass_context
def ssh(context: click.Context, name: str | None, node: int) -> None:
    """Log in to a machine, or run a command on it.

    \b
    gpujob ssh
    gpujob ssh NAME -- nvidia-smi
    gpujob ssh -- 'cd data && ls'
    """  # noqa: D301  click reads the backspace
    log_in(*logins.choose_node(find_cluster(name), node), context.meta["words"] or ())


@click.command()
@click.argument("ports", metavar="PORT[:REMOTE]", type=parse_ports)
@node_option
@cluster_option
def tunnel(ports: tuple[int, int], node: int, cluster: str | None) -> None:
    """Forward a port of the machine to this computer.

    Runs until Ctrl-C.

    \b
    gpujob tunnel 8888
    gpujob tunnel 8080:80     local port 8080, remote port 80
    """  # noqa: D301  click reads the backspace
    here, there = ports
    found, _ = logins.choose_node(find_cluster(cluster), node)
    try:
        forward = Forward(here)
    except UsageError as error:
        error.hint = f"gpujob tunnel {here % 64000 + 1001}:{there}"
        raise
    with suppress(KeyboardInterrupt), forward, connections.reach(found, node) as connection:
        show.say(f"forwarding http://127.0.0.1:{here} to port {there} of '{found.name}' (Ctrl-C to stop)")
        hold_tunnel(connection, forward, there, show.say)


@click.command("ssh-config")
@yes_option
def ssh_config(yes: bool) -> None:
    """Configure ssh, scp and VS Code to connect to clusters.

    Each cluster gets a host named gpujob-NAME, with its key and pinned host keys. Your settings
    for all hosts (Host *) do not apply to these hosts.
    """
    path, names = logins.write_config()
    if not logins.is_included(path):
        confirm(f"Add 'Include {path}' to the top of {logins.config_file()}?", yes)
        logins.include(path)
    show.say(f"wrote {path}")
    for name in names:
        show.say(f"  ssh {name}")
    if not names:
        show.say("  no clusters yet; run gpujob up, then gpujob ssh-config")
