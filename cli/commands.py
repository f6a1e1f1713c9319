"""The commands, in the order of a cluster's life; each is imported on first use."""

from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from cli import unknown
from cli.options.declared import add_profile_option
from cli.options.retype import TYPED
from cli.terminal import show
from infra.errors import GpujobError


class Entry(NamedTuple):
    """Where a command is declared, and its line in `gpujob --help`, which imports no command."""

    module: str
    help: str


COMMANDS = {
    "init": Entry("cli.account.init", "Create a starter project in DIR."),
    "offers": Entry("cli.cluster.offers", "List GPU instance types and prices, cheapest first."),
    "up": Entry("cli.cluster.up", "Launch a machine and wait until it can run jobs."),
    "setup": Entry("cli.cluster.setup", "Provision a cluster's machines with the setup playbook."),
    "run": Entry("cli.job.runs", "Upload the project, run SCRIPT, download the results."),
    "send": Entry("cli.away.sending", "Run SCRIPT on machines of its own that do not need this computer."),
    "jobs": Entry("cli.job.jobs", "List the jobs of a cluster."),
    "logs": Entry("cli.job.logs", "Print a job's output."),
    "attach": Entry("cli.job.logs", "Take over the terminal of an interactive job."),
    "wait": Entry("cli.job.jobs", "Wait until a job ends."),
    "cancel": Entry("cli.job.jobs", "Stop a job and every process it started."),
    "data": Entry("cli.job.data", "Send, list and remove data sets."),
    "fetch": Entry("cli.job.jobs", "Download a job's outputs."),
    "receipt": Entry("cli.job.receipts", "Show a job's record: command, machine, cost, outputs."),
    "runs": Entry("cli.history.runs", "List all runs of this project with their last metrics."),
    "tasks": Entry("cli.history.tasks", "List the tasks of an array with their values and last metrics."),
    "diff": Entry("cli.history.diff", "Compare two runs: command, code, dependencies, metrics."),
    "rerun": Entry("cli.history.rerun", "Run a job again, with the same command and options."),
    "open": Entry("cli.history.opening", "Open a run's report in the browser."),
    "top": Entry("cli.job.top", "Watch the usage of a cluster's machines and jobs."),
    "notebook": Entry("cli.job.pages", "Run JupyterLab on the machine and open it in the browser."),
    "tensorboard": Entry("cli.job.pages", "Open TensorBoard for a job, or for all jobs."),
    "ls": Entry("cli.cluster.listing", "List clusters, their cost and when they end."),
    "verify": Entry("cli.cluster.verify", "Check that a cluster's machines work and perform well."),
    "ssh": Entry("cli.cluster.logins", "Log in to a machine, or run a command on it."),
    "tunnel": Entry("cli.cluster.logins", "Forward a port of the machine to this computer."),
    "ssh-config": Entry("cli.cluster.logins", "Configure ssh, scp and VS Code to connect to clusters."),
    "extend": Entry("cli.cluster.power", "Extend a cluster's lease."),
    "stop": Entry("cli.cluster.power", "Stop a cluster's machines, keeping their disks."),
    "start": Entry("cli.cluster.power", "Start a stopped cluster with a new lease."),
    "bake": Entry("cli.image.bake", "Create an image from a machine of a cluster."),
    "images": Entry("cli.image.images", "List images created by gpujob bake, and their cost."),
    "down": Entry("cli.cluster.removal", "Download remaining outputs and terminate the cluster."),
    "bucket": Entry("cli.account.bucket", "Inspect and empty the bucket that machines upload to."),
    "cost": Entry("cli.account.costs", "Show costs by day and cluster."),
    "sweep": Entry("cli.account.orphans", "Find and delete orphaned resources in all regions."),
    "check": Entry("cli.account.checks", "Check credentials, region, quotas and images."),
    "completion": Entry("cli.completion.shells", "Print the completion script of a shell, or install it."),
    "policy": Entry("cli.account.policy", "Print the IAM policy that gpujob needs."),
    "local": Entry("cli.account.local", "Inspect, stop or inject faults into the local cloud."),
    "config": Entry("cli.account.config", "Show the value of every option and where it comes from."),
    "help": Entry("cli.help", "Show the help of a command, or list all commands."),
}
WITHOUT_AWS = ("init", "runs", "tasks", "diff", "open", "completion", "policy", "local", "config", "help")
"""The commands that never ask AWS, and so have no --profile."""
GROUPS = {
    "Start here": {"init": "new project", "up": "launch", "run": "", "send": "", "down": "terminate"},
    "Machine": dict.fromkeys(("ls", "ssh", "ssh-config", "tunnel", "extend", "stop", "start", "setup", "verify"), ""),
    "Jobs": {
        "jobs": "",
        "logs": "",
        "attach": "",
        "wait": "",
        "cancel": "",
        "fetch": "download",
        "data": "",
        "receipt": "",
    },
    "History": {"runs": "metrics", "tasks": "of an array", "diff": "", "rerun": "", "open": "report"},
    "Work on it": {"notebook": "", "tensorboard": "", "top": "usage"},
    "Money": {"offers": "prices", "cost": "", "bucket": "", "sweep": "orphaned resources"},
    "Images": {"bake": "create", "images": ""},
    "Account": {"check": "", "config": "", "completion": "", "policy": "IAM", "help": ""},
    "Dry run": {"local": "local cloud"},
}
"""The commands as `gpujob --help` groups them, some with their purpose."""
OPTIONS = "-v, --verbose (print the log), --version, -h, --help"
DEFAULTS = "in gpujob.toml, or as GPUJOB_ + option name: GPUJOB_MAX_HOURS=6"
MORE = "gpujob help [COMMAND]; with no command, gpujob shows what runs"


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, each imported from its module when it is first looked up."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.found: dict[str, Entry | click.Command] = {**entries}

    def __getitem__(self, name: str) -> click.Command:
        found = self.found[name]
        if isinstance(found, Entry):
            found = self.found[name] = getattr(import_module(found.module), name.replace("-", "_"))
            if name not in WITHOUT_AWS:
                add_profile_option(found)
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the command line as typed, for suggestions in errors and messages."""
        ctx.meta[TYPED] = tuple(args)
        ctx.meta[show.COMPLETE] = partial(complete_message, ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; its errors are completed."""
        try:
            return super().invoke(ctx)
        except (GpujobError, KeyboardInterrupt) as error:
            from cli.hints import complete  # imported only after a failure

            complete(error, ctx)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of a command line; raises UsageError that suggests one for an unknown name."""
        if args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise unknown.explain(self, ctx, args)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return completions of a command's name, or of the group's options."""
        names = [CompletionItem(name, help=one.help) for name, one in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by group and the options in one line, to fit a terminal of 24 lines."""
        formatter.write_paragraph()
        formatter.write_dl([(group, ", ".join(map(gloss, names, names.values()))) for group, names in GROUPS.items()])
        formatter.write_paragraph()
        formatter.write_dl([("Options   ", OPTIONS), ("Defaults", DEFAULTS), ("More", MORE)])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples as they are."""
        formatter.write(self.epilog or "")


def complete_message(context: click.Context, text: str) -> str:
    """Return a message whose suggested commands keep what was typed."""
    from cli.suggestions import complete_commands  # imported only for a message with a command

    return complete_commands(text, context)


def gloss(name: str, purpose: str) -> str:
    """Return a command with its purpose, if it has one: fetch (download)."""
    return f"{name} ({purpose})" if purpose else name
