"""Options that many commands share; each has its GPUJOB_... variable."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infra.errors import GpujobError, UsageError
from infra.model import Gpu
from infra.traffic import USD_PER_GB

if TYPE_CHECKING:
    from infra.ec2.account import Account
    from infra.model import Cluster

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, **settings: Any) -> Decorator:
    """Declare an option that a variable sets too: --max-hours and GPUJOB_MAX_HOURS."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    return click.option(
        *names, envvar=f"GPUJOB_{long.strip('-').replace('-', '_').upper()}", show_envvar=True, **settings
    )


dry_run_option = option("--dry-run", is_flag=True, help="Use the local cloud instead of AWS: nothing is billed.")
hidden_dry_run_option = option("--dry-run", is_flag=True, hidden=True)
region_option = option("--region", metavar="REGION", help="AWS region; else as boto3 finds it.")
regions_option = option(
    "--region",
    "regions",
    multiple=True,
    metavar="REGION",
    help="AWS region; repeat to try several in turn; else as boto3 finds it.",
)
cluster_argument = click.argument("name", required=False, envvar="GPUJOB_CLUSTER")
cluster_option = option(
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
json_option = option("--json", "as_json", is_flag=True, help="Print JSON.")
raw_option = option(
    "--raw", is_flag=True, help="Keep every step of progress bars, also where the output is no terminal."
)
transfer_option = option(
    "--transfer-usd",
    "usd_per_gb",
    type=click.FloatRange(min=0),
    default=USD_PER_GB,
    show_default=True,
    metavar="USD",
    help="Price per GB of data transfer out of AWS, which downloads pay.",
)
yes_option = option("--yes", "-y", is_flag=True, help="Do not ask.")


def as_on_node(path: str) -> str:
    """Return a path as it is meant on the node: `~` is the home there, though the shell put this computer's in its place."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path == home or path.startswith(f"{home}/") else path


def parse_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for, as in A10G or H100:8."""
    name, _, count = value.partition(":")
    if not name or not (count or "1").isdecimal() or int(count or 1) < 1:
        raise click.BadParameter(f"'{value}' is not NAME or NAME:COUNT, as in A10G or H100:8")
    return Gpu(name, int(count or 1))


def parse_any_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for; without a count, 0 for however many."""
    found = parse_gpu(value)
    return found if ":" in value else Gpu(found.name, 0)


def parse_hours(value: str) -> float:
    """Return a number of hours above 0 and at most 30 days."""
    try:
        hours = float(value)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= 720:
        raise click.BadParameter(f"'{value}' is no number of hours above 0 and up to 720")
    return hours


def parse_positive(value: str, what: str) -> float:
    """Return a number above 0."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise click.BadParameter(f"'{value}' is no {what}")
    return number


def parse_usd(value: str) -> float:
    """Return an amount of money above 0."""
    return parse_positive(value, "amount of USD above 0")


def parse_memory(value: str) -> float:
    """Return a size in GB above 0; 24, 24G and 24GB are the same."""
    return parse_positive(re.sub(r"\s*(?:g|gb|gib)$", "", value, flags=re.IGNORECASE), "size in GB above 0")


def parse_duration(value: str) -> float:
    """Return the seconds that 90s, 30m, 1h30m or 2d stand for; a bare number is seconds."""
    found = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", value.strip().lower())
    try:
        seconds = (
            sum(float(n or 0) * unit for n, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))
            if found
            else 0
        )
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise click.BadParameter(f"'{value}' is no length of time, as in 90s, 30m, 1h30m or 2d")
    return seconds


@dataclass(frozen=True)
class Since:
    """From where on a log is asked for: a byte, or so many seconds ago."""

    offset: int | None = None
    ago_s: float = 0


def parse_since(value: str) -> Since:
    """Return what 10m (ago), 14:05, 2026-11-24T14:05 or 4096 (an offset in bytes) stand for."""
    if value.isdecimal():
        return Since(offset=int(value))
    now = datetime.now().astimezone()
    try:
        clock = time.fromisoformat(value)
        moment = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
        return Since(ago_s=(now - moment).total_seconds() % 86400)  # what lies ahead today was yesterday
    except ValueError:
        pass
    try:
        return Since(ago_s=max((now - datetime.fromisoformat(value).astimezone()).total_seconds(), 0))
    except ValueError:
        pass
    try:
        return Since(ago_s=parse_duration(value))
    except click.BadParameter as error:
        raise click.BadParameter(
            f"'{value}' is no time: 10m (ago), 14:05, 2026-11-24T14:05, or an offset in bytes"
        ) from error


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
    if not click.confirm(question, err=True):
        raise GpujobError("nothing was done")


def find_cluster(name: str | None) -> "Cluster":
    """Return the cluster to work on; raises UsageError if a rehearsal meets one on AWS."""
    from infra import names
    from infra.project import find_root

    cluster = names.find(name, find_root(here()))
    if cluster.cloud == "aws" and os.environ.get("GPUJOB_DRY_RUN", "") not in ("", "0"):
        raise UsageError(f"'{cluster.name}' is a cluster on AWS, and GPUJOB_DRY_RUN is set", "unset GPUJOB_DRY_RUN")
    return cluster


def choose_name(name: str | None) -> str:
    """Return the name given, else that of the folder's cluster or the only one there is; whether or not there is one."""
    from infra import names
    from infra.errors import NotFoundError
    from infra.project import find_root

    try:
        return names.find(name, find_root(here())).name
    except NotFoundError:
        return own_name(name)


def own_name(name: str | None) -> str:
    """Return the name given, else that of the folder's own cluster: what ends one must not hit another for want of a name."""
    from infra import names
    from infra.project import find_root

    return names.name_for(find_root(here())) if name is None else name


def naming(name: str) -> str:
    """Return what lets a next step mean this cluster: ` --cluster NAME`, or in its own folder nothing."""
    return "" if name == own_name(None) else f" --cluster {name}"


def note_unasked(dry_run: bool, region: str | None, *, elsewhere: bool = False) -> None:
    """Say so if AWS was not looked at, for want of credentials or of a region; `elsewhere` if other regions were asked for."""
    from infra.ec2.account import default_region, has_credentials

    if not dry_run and not has_credentials():
        click.echo("(AWS was not asked: no credentials found)", err=True)
    elif not dry_run and not (region or elsewhere or default_region()):
        click.echo("(AWS was not asked: no region is set; give --region)", err=True)


def check_asked(accounts: "Iterable[Account]", dry_run: bool, region: str | None) -> None:
    """Raise what kept AWS from being asked, unless it is a rehearsal: what nobody looked for may be there."""
    from infra.ec2.account import open_aws

    if not dry_run and all(account.cloud == "local" for account in accounts):
        open_aws(region)


def runs_here() -> Path:
    """Return the folder that jobs' files come home to: `runs` of the project that the command was typed in."""
    from infra.project import find_root
    from infra.rules import RUNS

    return find_root(here()) / RUNS


def runs_of(cluster: "Cluster", number: int) -> Path:
    """Return the folder for a job's results: `runs` of the project that it was submitted from, else of the one here."""
    from infra.submissions import find_runs

    return find_runs(cluster, number) or runs_here()


def here() -> Path:
    """Return the folder that the command was typed in."""
    try:
        return Path.cwd().resolve()
    except FileNotFoundError as error:
        raise UsageError("the folder you are in was removed", "cd to your project") from error
