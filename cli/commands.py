"""The commands, in the order of a cluster's life; each is imported when it is used."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a command is declared, and its line in `gpujob --help`, which imports none."""

    module: str
    help: str


COMMANDS = {
    "init": Entry("cli.account.init", "Lay a starter project into DIR."),
    "offers": Entry("cli.cluster.offers", "List GPU machines with their prices, cheapest first."),
    "up": Entry("cli.cluster.up", "Launch a machine and wait until a job can run on it."),
    "setup": Entry("cli.cluster.setup", "Set a cluster's machines up as fast.ai's fastsetup does."),
    "run": Entry("cli.job.runs", "Upload the project, run SCRIPT, download the results."),
    "jobs": Entry("cli.job.jobs", "List the jobs of a cluster."),
    "logs": Entry("cli.job.jobs", "Print the output of JOB, by default the latest."),
    "wait": Entry("cli.job.jobs", "Wait until JOB is over, by default the latest."),
    "cancel": Entry("cli.job.jobs", "End JOB and every process it started."),
    "fetch": Entry("cli.job.jobs", "Download what JOB wrote, by default the latest job."),
    "receipt": Entry("cli.job.receipts", "Show the record of JOB, by default the latest downloaded."),
    "top": Entry("cli.job.top", "Watch what a cluster's machine and its jobs use and print."),
    "notebook": Entry("cli.job.pages", "Open JupyterLab on the machine, with the project in it."),
    "tensorboard": Entry("cli.job.pages", "Show the curves of JOB, or of all jobs, in the browser."),
    "ls": Entry("cli.cluster.listing", "List clusters, what they cost, and when they end."),
    "verify": Entry("cli.cluster.verify", "Measure whether a cluster's machines work as they should."),
    "ssh": Entry("cli.cluster.logins", "Log in to a cluster's machine, or run a command there."),
    "tunnel": Entry("cli.cluster.logins", "Let a port of the machine answer here, until Ctrl-C."),
    "ssh-config": Entry("cli.cluster.logins", "Let plain ssh, scp and VS Code reach clusters as gpujob-NAME."),
    "extend": Entry("cli.cluster.power", "Move the end of a cluster's lease to a later time."),
    "stop": Entry("cli.cluster.power", "Stop a cluster's machines and keep their disks."),
    "start": Entry("cli.cluster.power", "Start a stopped cluster again, under a new lease."),
    "bake": Entry("cli.image.bake", "Make an image of a cluster's machine as it is set up now."),
    "images": Entry("cli.image.images", "List the images that gpujob bake made, and what they cost."),
    "down": Entry("cli.cluster.removal", "Download what is left, terminate the cluster."),
    "cost": Entry("cli.account.costs", "Add up what clusters cost, by day and cluster."),
    "sweep": Entry("cli.account.orphans", "Find and delete orphaned resources in all regions."),
    "check": Entry("cli.account.checks", "Check credentials, region, quotas and images."),
    "policy": Entry("cli.account.policy", "Print the IAM policy that gpujob needs."),
    "local": Entry("cli.account.local", "Look at, disturb or end the local cloud that --dry-run uses."),
}


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, each imported from its module when it is first looked up."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.found: dict[str, Entry | click.Command] = {**entries}

    def __getitem__(self, name: str) -> click.Command:
        found = self.found[name]
        if isinstance(found, Entry):
            found = self.found[name] = getattr(import_module(found.module), name.replace("-", "_"))
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self.found[name] = command

    def __delitem__(self, name: str) -> None:
        del self.found[name]

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used.

    https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return completions of a command's name, or of the group's options."""
        names = [CompletionItem(name, help=one.help) for name, one in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table."""
        room = formatter.width - 6 - max(map(len, COMMANDS))  # as much as click leaves for it
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=one.help).get_short_help_str(room)) for name, one in COMMANDS.items()]
            )
