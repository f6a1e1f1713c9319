"""What of a job was not downloaded, and the command that downloads it."""

import select
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli.notices.results import show_fetched, show_first
from cli.notices.space import show_largest_folders
from cli.options.context import cluster_flag
from cli.terminal import formats, show
from infra.fetch.outputs import Fetched, Wanted
from infra.fetch.pace import UNASKED_BYTES, fit, total_bytes
from infra.node.listing import AllLeft, output_options

if TYPE_CHECKING:
    from infra.model import Output
    from infra.node.listing import Held, Left

SHOWN = 5
ANSWER_S = 300.0
MORE = "(the search for files outside of the working folder ran out of time: there may be more)"


def want(yes: bool = False) -> Wanted:
    """Return that a fetch is to download everything, with a question if that is very large, unless `yes`."""
    return Wanted(choose=make_chooser(yes))


def make_chooser(yes: bool, may_ask: bool = True) -> "Callable[[Sequence[Output]], Sequence[Output]]":
    """Return a function that chooses what to download: everything, but if that is large it asks once.

    Where there is no terminal to ask on, the smallest are downloaded, up to the size that needs no question.
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


def ask(missing: "Sequence[Output]", total: int) -> bool:
    """Show what is large and ask whether to download it; without an answer it is: the machine may end."""
    show_largest_folders(missing)
    wait = formats.duration(ANSWER_S)
    show.question(f"Download {formats.size(total)}? [Y/n] (without an answer within {wait} it is) ")
    if not select.select([sys.stdin], [], [], ANSWER_S)[0]:
        show.say("no answer; downloading")
        return True
    answer = sys.stdin.readline()
    return bool(answer) and not answer.strip().lower().startswith("n")


def show_remains(home: Fetched) -> None:
    """Say what was not downloaded of a job."""
    fetch = f"gpujob fetch{cluster_flag(home.receipt.cluster)} {home.receipt.job.number}"
    show_postponed(home, fetch)
    say_groups("not downloaded, outside of the working folder", home.told.left, fetch)
    if not home.told.left_complete:
        show.say(MORE)


def show_postponed(home: Fetched, fetch: str) -> None:
    """Say which of a job's outputs were not downloaded, or are not there."""
    show_first(
        [f"{path!r} was asked for with --output or [fetch] also, and is not there" for path in home.told.missing]
    )
    if home.postponed:
        total = formats.size(total_bytes(home.postponed))
        show.say(f"not downloaded yet: {formats.plural(len(home.postponed), 'file')}, {total}; most of it:")
        show_largest_folders(home.postponed)
        show.say(f"  download it: {fetch} --yes")
    say_groups("not downloaded, because tools make it again", home.told.held, fetch)
    if home.told.excluded:
        show.say(f"not downloaded, excluded by --exclude or gpujob.toml: {name_groups(home.told.excluded)}")


def show_drained(drained: Fetched | AllLeft, cluster: str, told: int = 0) -> None:
    """Say what was downloaded before a machine ends, and what jobs left outside of their working folders.

    What job number `told` left there was said before.
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
    """Say which groups of files were not downloaded, and the command that downloads them."""
    if not groups:
        return
    show.say(f"{what}: {name_groups(groups)}")
    named = output_options(groups)
    show.say(
        f"  download it: {fetch} {named}" if named else "  no shell takes their names; download the folder around them"
    )


def name_groups(groups: "Sequence[Held | Left]") -> str:
    """Return groups of files with their sizes, the first few by name."""
    named = [f"{show.printable(each.path)} ({describe(each)})" for each in groups[:SHOWN]]
    more = len(groups) - SHOWN
    return ", ".join(named) + (
        f" and {more} more ({formats.size(sum(g.size_bytes for g in groups[SHOWN:]))})" if more > 0 else ""
    )


def describe(group: "Held | Left") -> str:
    """Return how many files a group has, and their size."""
    files = "" if group.files == 1 else f"{formats.plural(group.files, 'file')}, "
    return files + formats.size(group.size_bytes)


def show_left(left: "Sequence[Left]", cluster: str) -> None:
    """Say what each job left outside of its working folder: it is lost when the machine ends."""
    for number in sorted({job for each in left for job in each.jobs[:1]}):
        own = [each for each in left if each.jobs[:1] == (number,)]
        also = sorted({job for each in own for job in each.jobs[1:]})
        whose = f"job {number}" + (f" (or {', '.join(map(str, also))})" if also else "")
        say_groups(f"{whose} left outside of its working folder", own, f"gpujob fetch{cluster_flag(cluster)} {number}")
