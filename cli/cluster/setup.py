"""Provision machines with the playbook: setup."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options.context import find_cluster, here
from cli.options.declared import cluster_argument, option, typed_option
from cli.terminal import formats, show
from infra.base.text import one_line
from infra.errors import UsageError
from infra.project.files import find_root
from infra.project.settings import read_settings
from infra.setup import playbook
from infra.setup.inventory import name_node

if TYPE_CHECKING:
    from infra.model import Cluster
    from infra.setup.events import Event, Outcome


def parse_tags(value: str) -> tuple[str, ...]:
    """Parse a list of roles such as ssh,updates."""
    return tuple(tag.strip() for tag in value.split(","))


def parse_variable(value: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; a value that is valid JSON (true, 3, [1, 2]) is read as JSON."""
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"'{value}' is not NAME=VALUE")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def parse_file(value: str) -> tuple[str, str]:
    """Parse NAME=PATH."""
    name, _, path = value.partition("=")
    if not name or not path:
        raise click.BadParameter(f"'{value}' is not NAME=PATH")
    return name, path


def read_file(path: str) -> str:
    """Return the text of a file on this computer; raises UsageError if it has none."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}: {getattr(error, 'strerror', '') or 'not text'}", "use another file"
        ) from error


@click.command()
@cluster_argument
@option("--tags", type=parse_tags, default=None, metavar="ROLE,...", help="Run only these roles  [default: all]")
@option("--check", is_flag=True, help="Only report what would change.")
@option(
    "--set",
    "variables",
    type=parse_variable,
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a playbook variable; repeatable. In gpujob.toml: [setup.variables].",
)
@typed_option(
    "--set-file",
    "files",
    type=parse_file,
    multiple=True,
    metavar="NAME=PATH",
    help="Set a playbook variable to the text of a file on this computer, such as a deploy key; repeatable.",
)
def setup(
    name: str | None,
    tags: tuple[str, ...] | None,
    check: bool,
    variables: tuple[tuple[str, Any], ...],
    files: tuple[tuple[str, str], ...],
) -> None:
    """Provision a cluster's machines with the setup playbook.

    Does what fast.ai's fastsetup does: packages, log limits, firewall, security updates, NVIDIA
    driver, Python with torch, fast disks, notebooks. Connects with the pinned host keys. Safe to
    run again.
    """
    found = find_cluster(name)
    known = read_settings(find_root(here())).variables
    wanted = playbook.Setup(
        tags or (), check, {**known, **dict(variables)}, {key: read_file(path) for key, path in files}
    )
    cluster = playbook.find_nodes(found, wanted)
    told: list[str] = []
    with board(cluster) as tell:

        def note(event: "Event") -> None:
            tell(event)
            told.extend(event.told)

        outcomes = playbook.run(cluster, wanted, note)
    for line in told:
        show.say(line)
    for outcome in outcomes:
        show.say(describe(outcome, check))


def describe(outcome: "Outcome", check: bool) -> str:
    """Return a one-line summary of the run on one node."""
    changed = f"{outcome.changed} would change" if check else f"{outcome.changed} changed"
    return f"{outcome.node}: {formats.plural(outcome.tasks, 'task')}, {changed}, {formats.duration(outcome.seconds)}"


@contextmanager
def board(cluster: "Cluster") -> Iterator[Callable[["Event"], None]]:
    """Yield a function that shows events: a live line per node on a terminal, otherwise one per task."""
    if not sys.stderr.isatty():
        yield say_event
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    node, task = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("fields[node]", "description"))
    with Progress(
        SpinnerColumn(), node, TimeElapsedColumn(), task, console=Console(stderr=True), transient=True
    ) as bar:
        names = [name_node(cluster, rank) for rank in cluster.ranks]
        lines = {name: bar.add_task("connecting", node=name, total=None) for name in names}

        def tell(event: "Event") -> None:
            if event.status == "started":
                bar.update(lines[event.node], description=one_line(event.title))

        yield tell


def say_event(event: "Event") -> None:
    """Print the result of a task, unless it was skipped."""
    if event.status not in ("started", "skipped"):
        show.say(f"{event.node}  {event.status:<9}  {show.printable(event.title)}")
