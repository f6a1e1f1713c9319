"""Report what was not downloaded from a job, with the command to download it."""

import select
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli.notices.results import show_fetched, show_first
from cli.notices.space import show_largest_folders
from cli.options.context import cluster_flag
from cli.terminal import formats, show
from infra.fetch.outputs import Choose, Fetched, Wanted
from infra.fetch.pace import UNASKED_BYTES, fit, total_bytes
from infra.node.listing import AllLeft, output_options

if TYPE_CHECKING:
    from infra.model import Output
    from infra.node.listing import Held, Left

SHOWN = 5
ANSWER_S = 300.0
NONE_YET = "(found no files outside the working folder until the search timed out)"
MORE = "(the search for files outside the working folder timed out; there may be more)"


def want(yes: bool = False) -> Wanted:
    """Return a request to download everything, confirming very large downloads unless `yes`."""
    return Wanted(choose=make_chooser(yes))


def make_chooser(yes: bool, may_ask: bool = True) -> "Callable[[Sequence[Output]], Sequence[Output]]":
    """Return a function that chooses what to download, asking once if it is large.

    Without a terminal, only the smallest files are downloaded, up to the size that needs no confirmation.
    """
    agreed = True if yes else None if may_ask else False

    def choose(missing: "Sequence[Output]") -> "Sequence[Output]":
        nonlocal agreed
        total = total_bytes(missing)
        if total <= UNASKED_BYTES:
            return missing
        if agreed is None:
            agreed = sys.stdin.isatty() and ask(missing, total)
        return missing if agreed else fit(missing, UNASKED_BYTES)

    return choose


def expecting(expect: "Callable[[int], None]", choose: Choose) -> Choose:
    """Return a function that chooses as another one does, and passes on how many bytes that is."""

    def chosen(missing: "Sequence[Output]") -> "Sequence[Output]":
        found = choose(missing)
        expect(total_bytes(found))
        return found

    return chosen


def ask(missing: "Sequence[Output]", total: int) -> bool:
    """Ask whether to download; no answer means yes, since the machine may end."""
    show_largest_folders(missing)
    wait = formats.duration(ANSWER_S)
    show.question(f"Download {formats.size(total)}? [Y/n] (yes if not answered within {wait}) ")
    if not select.select([sys.stdin], [], [], ANSWER_S)[0]:
        show.say("no answer, downloading")
        return True
    answer = sys.stdin.readline()
    return bool(answer) and not answer.strip().lower().startswith("n")


def show_remains(home: Fetched) -> None:
    """Report what was not downloaded from a job."""
    fetch = f"gpujob fetch{cluster_flag(home.receipt.cluster)} {home.receipt.job.number}"
    show_postponed(home, fetch)
    say_groups("not downloaded (outside the working folder)", home.told.left, fetch)
    if not home.told.left_complete:
        show.say(MORE if home.told.left else NONE_YET)


def show_postponed(home: Fetched, fetch: str) -> None:
    """Report which of a job's outputs were not downloaded or do not exist."""
    show_first([f"{path!r}: requested by --output or [fetch] also, but not found" for path in home.told.missing])
    if home.postponed:
        total = formats.size(total_bytes(home.postponed))
        show.say(f"not yet downloaded: {formats.plural(len(home.postponed), 'file')}, {total}; the largest:")
        show_largest_folders(home.postponed)
        show.say(f"  download: {fetch} --yes")
    say_groups("not downloaded (caches and environments)", home.told.held, fetch)
    if home.told.excluded:
        show.say(f"not downloaded (excluded by --exclude or gpujob.toml): {name_groups(home.told.excluded)}")


def show_drained(drained: Fetched | AllLeft, cluster: str, told: int = 0) -> None:
    """Report what was downloaded before termination, and files outside the working folders.

    Those of job number `told` were reported before.
    """
    if not isinstance(drained, AllLeft):
        show_fetched(drained)
        show_postponed(drained, f"gpujob fetch{cluster_flag(cluster)} {drained.receipt.job.number}")
        return
    left = [each for each in drained.left if each.jobs[:1] != (told,)]
    show_left(left, cluster)
    if left and not drained.complete:
        show.say(MORE)


def say_groups(what: str, groups: "Sequence[Held | Left]", fetch: str) -> None:
    """Report files that were not downloaded, and the command to download them."""
    if not groups:
        return
    show.say(f"{what}: {name_groups(groups)}")
    named = output_options(groups)
    show.say(
        f"  download: {fetch} {named}" if named else "  their names cannot be typed in a shell; download their folder"
    )


def name_groups(groups: "Sequence[Held | Left]") -> str:
    """Return groups of files with sizes, naming the first few."""
    named = [f"{show.printable(each.path)} ({describe(each)})" for each in groups[:SHOWN]]
    more = len(groups) - SHOWN
    return ", ".join(named) + (
        f" and {more} more ({formats.size(sum(g.size_bytes for g in groups[SHOWN:]))})" if more > 0 else ""
    )


def describe(group: "Held | Left") -> str:
    """Return the number and size of a group's files."""
    files = "" if group.files == 1 else f"{formats.plural(group.files, 'file')}, "
    return files + formats.size(group.size_bytes)


def show_left(left: "Sequence[Left]", cluster: str) -> None:
    """Report files outside each job's working folder, which are lost on termination."""
    for number in sorted({job for each in left for job in each.jobs[:1]}):
        own = [each for each in left if each.jobs[:1] == (number,)]
        also = sorted({job for each in own for job in each.jobs[1:]})
        whose = f"job {number}" + (f" (or {', '.join(map(str, also))})" if also else "")
        fetch = f"gpujob fetch{cluster_flag(cluster)} {number}"
        say_groups(f"not downloaded (outside the working folder of {whose})", own, fetch)
