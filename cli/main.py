"""The command, its groups, and the one place where an error becomes lines and an exit code."""

import errno
import io
import os
import sys

import click

from cli.account import check, cost, policy, sweep
from cli.clusters import down, ls
from cli.defaults import read_defaults
from cli.images import bake, images
from cli.init import init
from cli.jobs import cancel, fetch, jobs, logs, wait
from cli.local import local
from cli.logins import ssh, ssh_config, tunnel
from cli.pages import notebook, tensorboard
from cli.power import extend, start, stop
from cli.receipts import receipt
from cli.runs import run
from cli.setup import setup
from cli.streams import open_missing
from cli.top import top
from cli.up import offers, up
from cli.verify import verify
from infra.errors import GpujobError
from infra.interrupts import interrupt_on_stop

# What is the matter with a disk, or with a path that somebody chose, and is no bug.
DISK = (errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EDQUOT)
PATH = (errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the installed version, if that was asked for, and end."""
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # takes longer than all the rest of a start

    try:
        found = version("gpujob")
    except PackageNotFoundError:  # run from a checkout that was never installed
        found = "unknown"
    click.echo(f"gpujob {found}")
    context.exit()


class InOrder(click.Group):
    """A group that lists its commands in the order of a cluster's life."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the signature is click's
        """Return the names as they were added."""
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
@click.pass_context
def gpujob(context: click.Context) -> None:
    """Rent a GPU machine, run your training script on it, bring the results home, give it back.

    \b
    gpujob up --dry-run        rehearse on the local cloud: no AWS account, nothing billed
    gpujob up --gpu A10G       rent a machine with one A10G on AWS
    gpujob run train.py        send the code, run it, follow it, fetch what it wrote
    gpujob down                fetch what is left and give the machine back
    """  # noqa: D301  click reads the backspace
    context.default_map = read_defaults(gpujob, context.invoked_subcommand)


for command in (
    init, offers, up, setup, run, jobs, logs, wait, cancel, fetch, receipt, top, notebook, tensorboard, ls, verify, ssh, tunnel,
    ssh_config, extend, stop, start, bake, images, down, cost, sweep, check, policy, local,
):  # fmt: skip
    gpujob.add_command(command)


def main() -> None:
    """Run the command line; exit 0 when done, 1 when it failed, 2 for wrong words, 130 when interrupted."""
    open_missing()
    interrupt_on_stop()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name from elsewhere may be no text here
    try:
        code = gpujob.main(prog_name="gpujob", standalone_mode=False)
        sys.stdout.flush()
    except GpujobError as error:
        code = tell(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        told = error.__cause__ or error  # click raises its Abort from the interrupt, which has the notes
        click.echo("\n".join(["interrupted", *notes_of(told)]), err=True)
        code = 130
    except BrokenPipeError:  # the reader of our output, as in `gpujob ls | head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if error.errno not in DISK and not (error.errno in PATH and error.filename):
            raise
        code = tell(GpujobError(f"{error.strerror}: {error.filename or 'the output'}", "mend that, then type it again"))
    sys.exit(code or 0)


def notes_of(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, as lines."""
    return [f"  {note}" for note in getattr(error, "__notes__", [])]


def tell(error: GpujobError) -> int:
    """Say what happened and what to type next."""
    click.secho(f"gpujob: {error.what}", fg="red", err=True)
    for note in notes_of(error):
        click.echo(note, err=True)
    if error.hint:
        click.echo(f"  next: {error.hint}", err=True)
    return error.exit_code
