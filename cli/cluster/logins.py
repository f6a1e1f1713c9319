"""Logins by ssh itself: ssh, tunnel, ssh-config."""

import re
from contextlib import suppress

import click

from cli.options.context import find_cluster
from cli.options.declared import SplitCommand, cluster_argument, cluster_option, option, yes_option
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.cluster import connections, logins
from infra.errors import UsageError
from infra.run.pages import hold_tunnel
from infra.ssh.forward import Forward
from infra.ssh.login import log_in

node_option = option("--node", type=click.IntRange(0), default=0, help="Which machine of several, counted from 0.")


@click.command(cls=SplitCommand)
@cluster_argument
@node_option
@click.pass_context
def ssh(context: click.Context, name: str | None, node: int) -> None:
    """Log in to a cluster's machine, or run a command there.

    For example: gpujob ssh NAME -- nvidia-smi
    """
    log_in(*logins.choose_node(find_cluster(name), node), context.meta["words"] or ())


@click.command()
@click.argument("ports", metavar="PORT[:REMOTE]")
@node_option
@cluster_option
def tunnel(ports: str, node: int, cluster: str | None) -> None:
    """Let a port of the machine answer here, until Ctrl-C.

    For example: gpujob tunnel 8888, or gpujob tunnel 8080:80
    """
    here, there = parse_ports(ports)
    found, _ = logins.choose_node(find_cluster(cluster), node)
    try:
        forward = Forward(here)
    except UsageError as error:
        error.hint = f"gpujob tunnel {here % 64000 + 1001}:{there}"
        raise
    with suppress(KeyboardInterrupt), forward, connections.reach(found, node) as connection:
        show.say(f"http://127.0.0.1:{here} is port {there} of '{found.name}' until Ctrl-C")
        hold_tunnel(connection, forward, there, show.say)


def parse_ports(text: str) -> tuple[int, int]:
    """Return the ports here and there that PORT or PORT:REMOTE means; raises UsageError."""
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
    ports = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(0 < port < 65536 for port in ports):
        raise UsageError(f"'{text}' is not PORT or PORT:REMOTE", "gpujob tunnel 8888, or: gpujob tunnel 8080:80")
    return ports


@click.command("ssh-config")
@yes_option
def ssh_config(yes: bool) -> None:
    """Let plain ssh, scp and VS Code reach clusters as gpujob-NAME.

    They use the clusters' keys and check the pinned host keys. Your settings for all hosts (Host *) do not apply to them.
    """
    path, names = logins.write_config()
    if not logins.is_included(path):
        confirm(f"Add a line to the top of {logins.config_file()} that includes {path}?", yes)
        logins.include(path)
    show.say(f"written: {path}")
    for name in names:
        show.say(f"  ssh {name}")
    if not names:
        show.say("  no clusters yet: gpujob up, then gpujob ssh-config")
