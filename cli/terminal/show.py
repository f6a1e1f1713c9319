"""What a person sees: tables, progress, money, times. Listings go to stdout; what is said along the way goes to stderr.

Everything but a job's own output (cli/terminal/output.py) is printed here, in one way: without the control characters that
names, tags and answers of machines may hold.
"""

import json
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from infra.base.text import one_line
from infra.base.text import printable as printable  # the commands show with it

if TYPE_CHECKING:
    from infra.fetch.outputs import Fetched
    from infra.model import Job, Output
    from infra.project.files import File

Row = Mapping[str, Any]
SOME = 5
FOLDED = 16
"""How wide a column of a narrow table is at least, if its cells are no shorter."""


def say(text: str = "", colour: str | None = None) -> None:
    """Print something along the way, on stderr."""
    echo(text, err=True, colour=colour)


def echo(text: str, err: bool = False, colour: str | None = None) -> None:
    """Print lines, without whatever in them would steer the terminal."""
    click.secho(plain(text), err=err, fg=colour)


def question(text: str) -> None:
    """Print a question on stderr; the answer follows on the same line."""
    click.secho(plain(text), err=True, nl=False)


def plain(text: str) -> str:
    """Return lines of text with all control characters spelled out but tabs and the ends of lines."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def echo_json(data: Any) -> None:
    """Print data as JSON, which spells control characters out."""
    echo(json.dumps(data, indent=2))


def listing(
    rows: Sequence[Row], as_json: bool, data: Any = None, empty: str = "", droppable: Sequence[str] = ()
) -> None:
    """Show rows: a table on a terminal, tab-separated lines elsewhere, `data` (else the rows) with `as_json`.

    A narrow terminal goes without the `droppable` of the columns, the first of them first.
    """
    shown = [{name: printable(" ".join(str(value).split())) for name, value in row.items()} for row in rows]
    if as_json:
        echo_json(rows if data is None else data)
    elif not rows:
        say(empty)
    elif sys.stdout.isatty():
        table(shown, droppable)
    else:
        echo("\n".join("\t".join(cells) for cells in ([*rows[0]], *([*row.values()] for row in shown))))


def table(rows: Sequence[Row], droppable: Sequence[str]) -> None:
    """Print a table as wide as the terminal allows; where it is narrow, headings and long cells take several lines."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    longest = {name: max(cell_len(row[name]) for row in rows) for name in rows[0]}
    needed = {name: max(min(width, FOLDED), *map(len, name.split(" "))) for name, width in longest.items()}
    first = next(iter(rows[0]))
    needed[first] = max(longest[first], len(first))  # what a row is called is never folded
    left_out = []
    for name in droppable:
        if sum(needed.values()) + 2 * len(needed) <= console.width:
            break
        del needed[name]
        left_out.append(name)
    whole = sum(max(longest[name], len(name)) for name in needed) + 2 * len(needed)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width in needed.items():
        fixed = whole > console.width and longest[name] <= width
        grid.add_column(name, overflow="fold", width=width if fixed else None)
    for row in rows:
        grid.add_row(*(Text(row[name]) for name in needed))
    console.print(grid)
    if left_out:
        say(f"(no room for: {', '.join(left_out)}; --json tells all)")


def facts(pairs: Mapping[str, str], err: bool = True) -> None:
    """Print names and values in two columns, on stderr or else on stdout; on a terminal, long values take several lines."""
    pairs = {printable(name): value for name, value in pairs.items()}
    indent = max(map(len, pairs)) + 4
    stream = sys.stderr if err else sys.stdout
    room = max(shutil.get_terminal_size().columns - indent, FOLDED) if stream.isatty() else sys.maxsize
    for name, value in pairs.items():
        lines = [part for line in plain(value).split("\n") for part in wrap(line, room)]
        echo(f"  {name}".ljust(indent) + f"\n{' ' * indent}".join(lines), err=err)


def wrap(line: str, width: int) -> list[str]:
    """Return a line in parts of at most this width, broken between words; a longer word stays whole."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Yield what reports a step: a spinner with the time spent on a terminal, a line for each step elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: say(f"{text} ...")
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda text: bar.reset(task, description=one_line(text))


class Counter:
    """What counts bytes that were carried, and shows them."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self.total = 0
        self.advance = advance

    def __call__(self, count: int) -> None:
        """Count some more."""
        self.total += count
        self.advance(count)


@contextmanager
def transfer(what: str) -> Iterator[Counter]:
    """Yield what counts bytes: shown as they go on a terminal, not elsewhere."""
    if not sys.stderr.isatty():
        yield Counter(lambda _: None)
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def advance(count: int) -> None:
        bar.start()  # only now: before, there may be a question to answer
        bar.advance(task, count)

    try:
        yield Counter(advance)
    finally:
        bar.stop()


def largest_folders(files: "Iterable[File] | Iterable[Output]") -> None:
    """Show which folders at the top weigh most."""
    weights: dict[str, int] = {}
    for file in files:
        top, slash, _ = file.path.partition("/")
        weights[top + slash] = weights.get(top + slash, 0) + file.size_bytes
    facts({name: size(weight) for name, weight in sorted(weights.items(), key=lambda item: -item[1])[:8]})


def usd(amount: float) -> str:
    """Return an amount as people write it."""
    return "less than 0.01 USD" if 0 < amount < 0.01 else f"{amount:.2f} USD"


def size(count: int) -> str:
    """Return a number of bytes as people write it."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return plural(count, "byte") if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    """Return a length of time in at most two units: 1 h 5 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    days, hours = divmod(hours, 24)
    parts = (days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")
    first = next(at for at, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def clock(seconds: float) -> str:
    """Return a time of day in this laptop's zone, with its date if that is not today's."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def soon(seconds: float) -> str:
    """Return a time to come in this laptop's zone, with its date if it is not within a day."""
    if 0 <= seconds - time.time() < 86_400:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%H:%M}"
    return clock(seconds)


def plural(count: int, thing: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def ending(job: "Job") -> str:
    """Return how a job stands, in a few words."""
    took = f" after {duration(job.seconds)}" if job.seconds is not None else ""
    code = "" if job.exit_code in (None, 0) else f" with exit code {job.exit_code}"
    reason = f": {printable(job.reason)}" if job.reason else ""
    return f"{job.state}{code}{took}{reason}"


def job_row(job: "Job") -> dict[str, str]:
    """Return a job as a row of a listing."""
    return {
        "job": str(job.number),
        "name": job.name,
        "state": job.state,
        "exit": "" if job.exit_code is None else str(job.exit_code),
        "started": clock(job.started_at) if job.started_at else "",
        "took": "" if job.seconds is None else duration(job.seconds),
        "home": "yes" if job.fetched else "no",
        "command": shlex.join(job.command),
    }


def fetched(home: "Fetched") -> None:
    """Say what a fetch downloaded, and where it lies."""
    from infra.fetch.pace import total_bytes
    from infra.results.folder import OUTSIDE
    from infra.results.receipts import FILES

    receipt = home.receipt
    for outputs, name in ((receipt.outputs, FILES), (receipt.outside.outputs, OUTSIDE)):
        total = total_bytes(outputs)
        if outputs or name == FILES:
            say(f"{plural(len(outputs), 'output')} ({size(total)}) in {home.folder / name}")
    if not home.submitted_here:
        say(f"  (which project job {receipt.job.number} was submitted from is not known here)")
    for shelved in (receipt, receipt.outside):
        some(deviations(map(vars, shelved.renamed), map(vars, shelved.withheld)))
    some([f"{name!r} was still being written; fetch again once the job is over" for name in home.changing])
    some([f"{name!r} stays on the machine: its user may not read it" for name in home.told.unreadable])
    cost = "" if receipt.usd is None else f"; this job {price_of(receipt.usd, receipt.cloud)}"
    say(f"receipt {home.folder / 'receipt.json'}{cost}")


def deviations(renamed: Iterable[Row], withheld: Iterable[Row]) -> list[str]:
    """Return what was saved under another name, and what was not downloaded, each with the reason."""
    kept_back = [
        f"{each['path']!r} was not downloaded ({plural(each['files'], 'file')}): {each['why']}" for each in withheld
    ]
    return kept_back + [f"{each['path']!r} was saved as {each['saved_as']!r}: {each['why']}" for each in renamed]


def some(lines: Sequence[str]) -> None:
    """Say the first of these lines, and how many more there are."""
    for line in lines[:SOME]:
        say(f"  {line}")
    if len(lines) > SOME:
        say(f"  and {len(lines) - SOME} more like that; gpujob receipt --json lists all")


def most(amount: float, cloud: str) -> str:
    """Return the most that something may cost, or on the local cloud would on AWS."""
    return usd(amount) if cloud == "aws" else f"{usd(amount)} on AWS"


def price_of(amount: float, cloud: str) -> str:
    """Return what something cost, or on the local cloud what it would have."""
    return f"cost {usd(amount)}" if cloud == "aws" else f"would have cost {usd(amount)} on AWS"
