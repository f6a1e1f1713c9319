"""Report what was downloaded, and where to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.terminal import clouds, show
from cli.terminal.formats import plural, size
from infra.fetch.pace import total_bytes
from infra.results.folder import OUTSIDE
from infra.results.receipts import FILES, RECEIPT

if TYPE_CHECKING:
    from infra.fetch.outputs import Fetched

SHOWN = 5


def show_fetched(home: "Fetched") -> None:
    """Report what was downloaded, where to, and what the job cost."""
    receipt = home.receipt
    for outputs, name in ((receipt.outputs, FILES), (receipt.outside.outputs, OUTSIDE)):
        total = total_bytes(outputs)
        if outputs or name == FILES:
            folder = home.folder / name
            count = f"{plural(len(outputs), 'output')} ({size(total)}) in {folder}" if outputs else "no outputs"
            show.say(count, links=[folder])
    if not home.submitted_here:
        show.say(f"  (job {receipt.job.number} was submitted from another computer or an unknown project)")
    for shelved in (receipt, receipt.outside):
        show_first(list_deviations(map(vars, shelved.renamed), map(vars, shelved.withheld)))
    show_first([f"{name!r} was still being written; fetch again when the job has ended" for name in home.changing])
    show_first([f"{name!r} was not downloaded: permission denied on the machine" for name in home.told.unreadable])
    cost = "" if receipt.usd is None else f"; this job {clouds.cost(receipt.usd, receipt.cloud)}"
    record = home.folder / RECEIPT
    show.say(f"receipt: {record}{cost}", links=[record])


def list_deviations(renamed: Iterable[Mapping[str, Any]], withheld: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what was not downloaded or was renamed, each with the reason."""
    kept_back = [
        f"{each['path']!r} was not downloaded ({plural(each['files'], 'file')}): {each['why']}" for each in withheld
    ]
    return kept_back + [f"{each['path']!r} was saved as {each['saved_as']!r}: {each['why']}" for each in renamed]


def show_first(lines: Sequence[str]) -> None:
    """Print the first of these lines, and how many more there are."""
    for line in lines[:SHOWN]:
        show.say(f"  {line}")
    if len(lines) > SHOWN:
        show.say(f"  and {len(lines) - SHOWN} more; list all: gpujob receipt --json")
