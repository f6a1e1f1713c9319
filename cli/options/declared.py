"""Options shared by commands, and where each may be set: command line, variable, gpujob.toml."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from cli.options.values import as_on_node
from infra.base.money import USD_PER_GB
from infra.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
CLUSTER_VARIABLE, PROFILE_VARIABLE = "GPUJOB_CLUSTER", "GPUJOB_PROFILE"
TYPED_OPTIONS = "gpujob.options"
"""Where the context of a command has the typed values of --profile, --region and --cluster, by option."""
Value = TypeVar("Value", str | None, tuple[str, ...])
FETCH_EVERY_S = 60
"""The default interval between downloads of a job's outputs while attached."""
DANGEROUS = frozenset({"--all", "--everyone", "--force", "--yes"})


def option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that a variable (GPUJOB_MAX_HOURS) and gpujob.toml may also set."""
    if long_name(names) in DANGEROUS:
        raise ValueError(f"{long_name(names)} must be a typed_option")
    return click.option(*names, **{"envvar": variable_of(names), **settings})


def personal_option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that a variable may also set, but gpujob.toml may not."""
    return option(*names, cls=GuardedOption, **settings)


def typed_option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that only the command line may set: it is destructive or skips a check."""
    return click.option(*names, cls=GuardedOption, typed_only=True, **{"envvar": variable_of(names), **settings})


def add_options(*added: Decorator) -> Decorator:
    """Return a decorator that adds all of these options, in this order."""

    def add_all(command: Callable[..., Any]) -> Callable[..., Any]:
        for add in reversed(added):
            command = add(command)
        return command

    return add_all


def collect(*added: Decorator) -> list[click.Parameter]:
    """Return the options that decorators add, in this order."""
    declared: list[click.Parameter] = getattr(add_options(*added)(lambda: None), "__click_params__", [])
    return declared[::-1]


def long_name(names: Sequence[str]) -> str:
    """Return an option's long name, such as --max-hours."""
    return next(name for name in names if name.startswith("--")).split("/")[0]


def variable_of(names: Sequence[str]) -> str:
    """Return the environment variable of an option, such as GPUJOB_MAX_HOURS."""
    return f"GPUJOB_{long_name(names).strip('-').replace('-', '_').upper()}"


class GuardedOption(click.Option):
    """An option that gpujob.toml cannot set; with `typed_only`, neither can a variable."""

    def __init__(self, *args: Any, typed_only: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.typed_only = typed_only

    @property
    def accepted(self) -> str:
        """Where it may be set."""
        return "only on the command line" if self.typed_only else f"only on the command line or in {self.envvar}"

    def consume_value(self, ctx: click.Context, opts: Mapping[str, click.Parameter]) -> tuple[Any, ParameterSource]:
        """Return the value and its source; raises UsageError if that source is not allowed."""
        value, source = super().consume_value(ctx, opts)
        allowed = source not in (ParameterSource.DEFAULT_MAP, self.typed_only and ParameterSource.ENVIRONMENT)
        if not allowed and not ctx.resilient_parsing:
            place = self.envvar if source is ParameterSource.ENVIRONMENT else "gpujob.toml"
            raise UsageError(
                f"{place} sets {long_name(self.opts)}, which is accepted {self.accepted}", f"unset {place}"
            )
        return value, source


def set_profile(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    """Use an AWS profile in this process: boto3's sessions are made in many places."""
    if name and not context.resilient_parsing:
        os.environ[PROFILE_VARIABLE] = name
    note_typed(context, parameter, name)


def note_typed(context: click.Context, parameter: click.Parameter, value: Value) -> Value:
    """Note a value if it was typed, for suggested commands."""
    if value and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        values = (value,) if isinstance(value, str) else value
        context.meta.setdefault(TYPED_OPTIONS, {})[long_name(parameter.opts)] = values
    return value


def add_profile_option(command: click.Command) -> None:
    """Add --profile to a command, and to those below it."""
    command.params.append(
        GuardedOption(
            ["--profile"],
            metavar="NAME",
            envvar=PROFILE_VARIABLE,
            expose_value=False,
            callback=set_profile,
            help="AWS profile  [default: your AWS configuration]",
        )
    )
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        add_profile_option(inner)


dry_run_option = option("--dry-run", is_flag=True, help="Use the local cloud instead of AWS; nothing is billed.")
hidden_dry_run_option = option("--dry-run", is_flag=True, hidden=True)
region_option = option(
    "--region", metavar="REGION", callback=note_typed, help="AWS region  [default: your AWS configuration]"
)
personal_region_option = personal_option(
    "--region", metavar="REGION", callback=note_typed, help="AWS region  [default: your AWS configuration]"
)
regions_option = option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    callback=note_typed,
    help="AWS region; repeat to try several in order  [default: your AWS configuration]",
)
cluster_argument = click.argument("name", required=False, envvar=CLUSTER_VARIABLE)
typed_cluster_argument = click.argument("name", required=False)
cluster_option = personal_option(
    "--cluster",
    metavar="NAME",
    callback=note_typed,
    help="Cluster name  [default: this folder's cluster, or the only one]",
)
output_option = option(
    "--output",
    "outputs",
    multiple=True,
    metavar="PATH",
    callback=lambda _context, _option, paths: tuple(map(as_on_node, paths)),
    help="Also download this path from the machine, e.g. '~/ckpt.pt' or ../out; repeatable.",
)
exclude_option = option(
    "--exclude", multiple=True, metavar="PATTERN", help="Do not download matching files, e.g. '*.tmp'; repeatable."
)
no_deps_option = option("--no-deps", is_flag=True, help="Do not install the project's dependencies.")
extra_option = option(
    "--extra", "extras", multiple=True, metavar="NAME", help="Install this extra of the project, too; repeatable."
)
group_option = option(
    "--group", "groups", multiple=True, metavar="NAME", help="Install this dependency group, too; repeatable."
)
typed_cluster_option = typed_option(  # `check_variable` checks the variable, which other commands accept
    "--cluster",
    envvar=None,
    metavar="NAME",
    callback=note_typed,
    help="Cluster name  [default: this folder's cluster, or the only one]",
)
json_option = option("--json", "as_json", is_flag=True, help="Print JSON.")
raw_option = option("--raw", is_flag=True, help="Keep every update of progress bars when the output is not a terminal.")
transfer_option = personal_option(
    "--transfer-usd",
    "usd_per_gb",
    type=click.FloatRange(min=0),
    default=USD_PER_GB,
    show_default=True,
    metavar="USD",
    help="Price of data transfer out of AWS, in USD per GB; used to estimate the cost of downloads.",
)
yes_option = typed_option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
if_exists_option = typed_option("--if-exists", is_flag=True, help="Exit with 0 if nothing has this name.")


class SplitCommand(click.Command):
    """A command that stores the arguments after the first `--` in `context.meta["words"]`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the first `--` and parse the part before it; without one, the rest is None."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["words"] = tuple(args[at + 1 :]) if at < len(args) else None
        return super().parse_args(ctx, args[:at])
