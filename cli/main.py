"""The command, its groups, and the one place where an error becomes lines and an exit code."""

import errno
import io
import os
import sys

import click

from cli.commands import COMMANDS, LazyCommands, LazyGroup
from cli.terminal import log, show
from cli.terminal.streams import open_missing
from infra.base.installation import find_version
from infra.base.interrupts import interrupt_on_stop
from infra.base.redaction import redact
from infra.errors import GpujobError

# What is the matter with a disk, or with a path that somebody chose, and is no bug.
DISK = (errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EDQUOT)
PATH = (errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
INTERRUPTED, CRASHED = 130, 3


def print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the installed version if it was asked for, and exit."""
    if not wanted or context.resilient_parsing:
        return
    show.echo(f"gpujob {find_version()}")
    context.exit()


@click.group(
    cls=LazyGroup,
    commands=LazyCommands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
@click.option("-v", "--verbose", is_flag=True, help="Show what the log file gets: each call to AWS, each step of SSH.")
@click.pass_context
def gpujob(context: click.Context, verbose: bool) -> None:
    """Launch a GPU machine, run your training script on it, download the results, terminate it.

    \b
    gpujob up --dry-run        try it on the local cloud: no AWS account, nothing billed
    gpujob up --gpu A10G       launch a machine with one A10G on AWS
    gpujob run train.py        upload the code, run it, download the results; --down ends the machine
    gpujob down                download what is left and terminate the machine
    """  # noqa: D301  click reads the backspace
    from cli.options.defaults import read_defaults  # it reads the project, which --help and --version need not

    log.start(context.invoked_subcommand or "gpujob", verbose)
    context.default_map = read_defaults(gpujob, context.invoked_subcommand)


def main() -> None:
    """Run the command line.

    Exit 0 when done, 1 when it failed, 2 for words that do not fit, 3 for an unexpected error, 130 when interrupted.
    """
    open_missing()
    interrupt_on_stop()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name from elsewhere may be no text here
    try:
        code = gpujob.main(prog_name="gpujob", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, as in `gpujob ls | head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (Exception, KeyboardInterrupt) as error:
        code = explain(error)
    sys.exit(code or 0)


def explain(error: BaseException) -> int:
    """Say what happened and what to type next; return the exit code."""
    if isinstance(error, GpujobError):
        return print_error(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return print_usage_error(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        told = error.__cause__ or error  # click raises its Abort from the interrupt, which has the notes
        show.say("\n".join(["interrupted", *notes_of(told)]))
        return INTERRUPTED
    if isinstance(error, OSError) and (error.errno in DISK or (error.errno in PATH and error.filename)):
        return print_error(GpujobError(f"{error.strerror}: {error.filename or 'the output'}", "fix that, then rerun"))
    return print_crash(error)


def notes_of(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, as lines."""
    return [f"  {show.printable(note)}" for note in getattr(error, "__notes__", [])]


def print_error(error: GpujobError) -> int:
    """Say what happened and what to type next."""
    log.record_error(error)
    show.say(f"gpujob: {show.printable(error.what)}", colour="red")
    for note in notes_of(error):
        show.say(note)
    if error.hint:
        show.say(f"  next: {show.printable(error.hint)}")
    return error.exit_code


def print_usage_error(error: click.ClickException) -> int:
    """Say what click says of words that do not fit, which it quotes."""
    said = io.StringIO()
    error.show(said)
    show.say(said.getvalue().rstrip("\n"))
    return error.exit_code


def print_crash(error: BaseException) -> int:
    """Say that this is a bug, in a line, and where its traceback is."""
    path = log.record_crash(error)
    said = " ".join(str(error).split())[:300]
    show.say(f"gpujob: unexpected error: {show.printable(redact(f'{type(error).__name__}: {said}'))}", colour="red")
    if path:
        show.say(f"  log: {path}")
    show.say("  This is a bug. Please report it, with the file that this writes: gpujob check --report")
    return CRASHED
