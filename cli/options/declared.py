"""Options that many commands share, and where each may be set: on the command line, in a variable, in gpujob.toml."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.options.durations import NUMBER
from infra.base.text import printable
from infra.errors import GpujobError, UsageError
from infra.ledger.traffic import USD_PER_GB
from infra.model import Gpu

if TYPE_CHECKING:
    from infra.model import Cluster

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
CLUSTER_VARIABLE = "GPUJOB_CLUSTER"
DANGEROUS = frozenset({"--all", "--everyone", "--force", "--yes"})


def option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that a variable and gpujob.toml set too: --max-hours and GPUJOB_MAX_HOURS."""
    if long_name(names) in DANGEROUS:
        raise ValueError(f"{long_name(names)} must be a typed_option")
    return click.option(*names, **{"envvar": variable_of(names), "show_envvar": True, **settings})


def personal_option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that a variable sets too, but no gpujob.toml: it reaches beyond the project."""
    return option(*names, cls=GuardedOption, **settings)


def typed_option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that only the command line sets: it destroys, skips a question or widens a limit."""
    return click.option(*names, cls=GuardedOption, typed_only=True, **{"envvar": variable_of(names), **settings})


def long_name(names: Sequence[str]) -> str:
    """Return --max-hours of an option's names."""
    return next(name for name in names if name.startswith("--")).split("/")[0]


def variable_of(names: Sequence[str]) -> str:
    """Return the variable of an option: GPUJOB_MAX_HOURS."""
    return f"GPUJOB_{long_name(names).strip('-').replace('-', '_').upper()}"


class GuardedOption(click.Option):
    """An option that gpujob.toml, which may be somebody else's, cannot set; nor can a variable if it is `typed_only`."""

    def __init__(self, *args: Any, typed_only: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.typed_only = typed_only

    @property
    def accepted(self) -> str:
        """Where it may be set."""
        return "only on the command line" if self.typed_only else f"only on the command line or in {self.envvar}"

    def consume_value(self, ctx: click.Context, opts: Mapping[str, click.Parameter]) -> tuple[Any, ParameterSource]:
        """Return the value and where it came from; raises UsageError if it may not come from there."""
        value, source = super().consume_value(ctx, opts)
        allowed = source not in (ParameterSource.DEFAULT_MAP, self.typed_only and ParameterSource.ENVIRONMENT)
        if not allowed and not ctx.resilient_parsing:
            place = self.envvar if source is ParameterSource.ENVIRONMENT else "gpujob.toml"
            raise UsageError(
                f"{place} sets {long_name(self.opts)}, which is accepted {self.accepted}", f"unset {place}"
            )
        return value, source


dry_run_option = option("--dry-run", is_flag=True, help="Use the local cloud instead of AWS: nothing is billed.")
hidden_dry_run_option = option("--dry-run", is_flag=True, hidden=True)
region_option = option("--region", metavar="REGION", help="AWS region; else as boto3 finds it.")
personal_region_option = personal_option("--region", metavar="REGION", help="AWS region; else as boto3 finds it.")
regions_option = option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="AWS region; repeat to try several in turn; else as boto3 finds it.",
)
cluster_argument = click.argument("name", required=False, envvar=CLUSTER_VARIABLE)
typed_cluster_argument = click.argument("name", required=False)
cluster_option = personal_option(
    "--cluster", metavar="NAME", help="Which cluster; else the folder's own, or the only one there is."
)
output_option = click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="PATH",
    callback=lambda _context, _option, paths: tuple(map(as_on_node, paths)),
    help="Also download this path of the machine, as in '~/ckpt.pt' or ../out; may be repeated.",
)
exclude_option = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Do not download what matches, as in '*.tmp'; may be repeated."
)
typed_cluster_option = typed_option(  # `check_variable` looks at the variable, which other commands take
    "--cluster", envvar=None, metavar="NAME", help="Which cluster; else the folder's own, or the only one there is."
)
json_option = option("--json", "as_json", is_flag=True, help="Print JSON.")
raw_option = option(
    "--raw", is_flag=True, help="Keep every step of progress bars, also where the output is no terminal."
)
transfer_option = personal_option(
    "--transfer-usd",
    "usd_per_gb",
    type=click.FloatRange(min=0),
    default=USD_PER_GB,
    show_default=True,
    metavar="USD",
    help="Price per GB of data transfer out of AWS, which downloads pay.",
)
yes_option = typed_option("--yes", "-y", is_flag=True, help="Do not ask.")
if_exists_option = typed_option("--if-exists", is_flag=True, help="Exit with 0 also if there is nothing of this name.")


def as_on_node(path: str) -> str:
    """Return a path as it is meant on the node: `~` is the home there, though the shell put this computer's in its place."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path == home or path.startswith(f"{home}/") else path


def parse_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for, as in A10G or H100:8."""
    name, _, count = value.partition(":")
    if not name or not re.fullmatch("0*[1-9][0-9]{0,3}", count or "1"):
        raise click.BadParameter(f"'{value}' is not NAME or NAME:COUNT, as in A10G or H100:8")
    return Gpu(name, int(count or 1))


def parse_any_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for; without a count, 0 for however many."""
    found = parse_gpu(value)
    return found if ":" in value else Gpu(found.name, 0)


def parse_positive(value: str, what: str) -> float:
    """Return a number above 0."""
    number = float(value) if NUMBER.fullmatch(value) else 0
    if number <= 0:
        raise click.BadParameter(f"'{value}' is not {what}")
    return number


def parse_usd(value: str) -> float:
    """Return an amount of money above 0."""
    return parse_positive(value, "an amount of USD above 0, such as 5 or 2.50")


def parse_memory(value: str) -> float:
    """Return a size in GB above 0; 24, 24G and 24GB are the same."""
    return parse_positive(
        re.sub(r"\s*(?:g|gb|gib)$", "", value, flags=re.IGNORECASE), "a size in GB above 0, such as 24"
    )


class SplitCommand(click.Command):
    """A command that keeps what stands after the first `--` apart, in `context.meta["words"]`; None where there is none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split, then parse what stands before."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["words"] = tuple(args[at + 1 :]) if at < len(args) else None
        return super().parse_args(ctx, args[:at])


def confirm(question: str, yes: bool) -> None:
    """Ask, unless `yes`; raises UsageError where nobody can answer, and GpujobError if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to answer on", "add --yes")
    if not click.confirm(printable(question), err=True):
        raise GpujobError("nothing was done")


def find_cluster(name: str | None) -> "Cluster":
    """Return the cluster to work on; raises UsageError if a rehearsal meets one on AWS."""
    from infra import names
    from infra.project.files import find_root

    cluster = names.find(name, find_root(here()))
    if cluster.cloud == "aws" and os.environ.get("GPUJOB_DRY_RUN", "") not in ("", "0"):
        raise UsageError(f"'{cluster.name}' is a cluster on AWS, and GPUJOB_DRY_RUN is set", "unset GPUJOB_DRY_RUN")
    return cluster


def choose_name(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one there is; whether or not there is one."""
    from infra import names
    from infra.errors import NotFoundError
    from infra.project.files import find_root

    try:
        return names.find(name, find_root(here())).name
    except NotFoundError:
        return own_name(name)


def own_name(name: str | None) -> str:
    """Return the name given, else that of the folder's own cluster: what ends one must not hit another for want of a name."""
    from infra import names
    from infra.project.files import find_root

    return names.name_for(find_root(here())) if name is None else name


def name_to_end(name: str | None, command: str) -> str:
    """Return the cluster that a command ends: the one typed, else the folder's own.

    Raises UsageError if a variable names another: what ends a cluster must not do so for a variable set long ago.
    """
    check_variable(name, command)
    return own_name(name)


def check_variable(name: str | None, command: str) -> None:
    """Raise UsageError if only a variable, whose cluster is not the folder's own, says what a command ends."""
    variable = os.environ.get(CLUSTER_VARIABLE)
    if name is None and variable and variable != own_name(None):
        raise UsageError(
            f"{CLUSTER_VARIABLE} is {shlex.quote(variable)}, but what ends something takes the cluster's name"
            " from the command line only",
            command.format(name=shlex.quote(variable)),
        )


def naming(name: str) -> str:
    """Return what lets a suggested command mean this cluster: ` --cluster NAME`, or in its own folder nothing."""
    own = own_name(None)
    return "" if name == own == (os.environ.get(CLUSTER_VARIABLE) or own) else f" --cluster {name}"


def runs_here() -> Path:
    """Return the folder that jobs' files come home to: `runs` of the project that the command was typed in."""
    from infra.project.files import find_root
    from infra.project.rules import RUNS

    return find_root(here()) / RUNS


def runs_of(cluster: "Cluster", number: int) -> Path:
    """Return the folder for a job's results: `runs` of the project that it was submitted from, else of the one here."""
    from infra.run.submissions import find_runs

    return find_runs(cluster, number) or runs_here()


def here() -> Path:
    """Return the folder that the command was typed in."""
    try:
        return Path.cwd().resolve()
    except FileNotFoundError as error:
        raise UsageError("the folder you are in was removed", "cd to your project") from error
