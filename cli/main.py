"""The top-level command, and where errors become messages and exit codes."""

import errno
import io
import os
import shlex
import sys

import click

from cli.commands import COMMANDS, LazyCommands, LazyGroup
from cli.terminal import log, show
from cli.terminal.lines import HelpFormatter
from cli.terminal.streams import open_missing
from infra.base.installation import find_version
from infra.base.interrupts import interrupt_on_stop
from infra.base.redaction import redact
from infra.errors import GpujobError

# Errors of a disk, or of a path that the user chose: these are not bugs.
DISK = (errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EDQUOT)
PATH = (errno.EPERM, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
INTERRUPTED, CRASHED = 130, 3
click.Context.formatter_class = HelpFormatter
EXAMPLES = """
  gpujob up --dry-run          try it on the local cloud, without an AWS account
  gpujob up --gpu A10G         launch a machine with one A10G on AWS
  gpujob run train.py          upload the code, run it, download the results
  gpujob run --down train.py   the same, then terminate the machine
  gpujob down                  download remaining outputs, terminate the machine
"""


def print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the installed version if `wanted`, and exit."""
    if not wanted or context.resilient_parsing:
        return
    show.echo(f"gpujob {find_version()}")
    context.exit()


@click.group(
    cls=LazyGroup,
    commands=LazyCommands(COMMANDS),
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
@click.option(
    "-v",
    "--verbose",
    envvar="GPUJOB_VERBOSE",
    is_flag=True,
    help="Print the log to stderr: AWS calls, SSH steps, timings.",
)
@click.option("--no-color", envvar="GPUJOB_NO_COLOR", is_flag=True, help="Print without colors, as with NO_COLOR.")
@click.pass_context
def gpujob(context: click.Context, verbose: bool, no_color: bool) -> None:
    """Launch a GPU machine, run your code, download the results, terminate it."""
    from cli.options.defaults import (  # reads the project, which --help and --version do not need
        read_defaults,
        warn_unknown,
    )

    if no_color:
        os.environ["NO_COLOR"] = "1"  # rich reads it, too
    log.start(context.invoked_subcommand or "gpujob", verbose)
    warn_unknown()
    context.default_map = read_defaults(gpujob, context.invoked_subcommand)
    if context.invoked_subcommand is None:
        from cli.account.status import show_status  # loads boto3

        show_status()


def main() -> None:
    """Run the command line.

    Exit with 0 on success, 1 on failure, 2 on a usage error, 3 on an unexpected error, 130 when interrupted.
    """
    open_missing()
    if instruction := os.environ.get("_GPUJOB_COMPLETE"):
        from cli.completion.answers import answer_shell  # imported only when a shell completes a command line

        answer_shell(gpujob, instruction)
        return
    interrupt_on_stop()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a remote name may not be encodable
    try:
        code = gpujob.main(prog_name="gpujob", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output exited, as in `gpujob ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (Exception, KeyboardInterrupt) as error:
        code = explain(error)
    sys.exit(code or 0)


def explain(error: BaseException) -> int:
    """Print an error with the next command to type; return the exit code."""
    if isinstance(error, GpujobError):
        return print_error(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return print_usage_error(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        cause = error.__cause__ or error  # click raises its Abort from the interrupt, which has the notes
        show.say("\n".join(["interrupted", *notes_of(cause)]))
        return INTERRUPTED
    if isinstance(error, OSError) and (error.errno in DISK or (error.errno in PATH and error.filename)):
        return print_error(GpujobError(f"{error.strerror}: {error.filename or 'the output'}", "fix it and rerun"))
    return print_crash(error)


def notes_of(error: BaseException) -> list[str]:
    """Return the notes added to an error, as lines."""
    return [f"  {show.printable(note)}" for note in getattr(error, "__notes__", [])]


def print_error(error: GpujobError) -> int:
    """Print an error, its notes and the next command to type; return the exit code."""
    log.record_error(error)
    show.say(f"gpujob: {show.printable(error.what)}", colour="red")
    for note in notes_of(error):
        show.say(note)
    if error.hint:
        show.say(f"  next: {show.printable(error.hint)}")
    return error.exit_code


def print_usage_error(error: click.ClickException) -> int:
    """Print click's message for a usage error, and how the command is used; return the exit code."""
    said = error.format_message().removesuffix(".")
    show.say(f"gpujob: {show.printable(said[:1].lower() + said[1:])}", colour="red")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context:
        if isinstance(error, click.MissingParameter):
            show.say("  usage: " + " ".join([context.command_path, *context.command.collect_usage_pieces(context)]))
        show.say(f"  next: {find_command_of(error, context)}")
    return error.exit_code


def find_command_of(error: click.ClickException, context: click.Context) -> str:
    """Return the command to type after a usage error: an option before the command goes after it."""
    if isinstance(error, click.NoSuchOption) and context.parent is None:
        words = sys.argv[1:]
        name = next((word for word in words if word in COMMANDS), "up" if "--dry-run" in words else "")
        if name:
            rest = [word for word in words if word not in (name, error.option_name)]
            return shlex.join(["gpujob", name, *rest, error.option_name])
    return f"{context.command_path} --help"


def print_crash(error: BaseException) -> int:
    """Report a bug, with the path of the log that has its traceback; return the exit code."""
    path = log.record_crash(error)
    said = " ".join(str(error).split())[:300]
    show.say(f"gpujob: unexpected error: {show.printable(redact(f'{type(error).__name__}: {said}'))}", colour="red")
    if path:
        show.say(f"  log: {path}", links=[path])
    show.say("  This is a bug. To report it, attach the file written by: gpujob check --report")
    return CRASHED
