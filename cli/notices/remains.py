"""What of a job was not downloaded, with the command that does it: too much to go unasked, caches, what lies elsewhere."""

import select
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cli.options.context import cluster_flag
from cli.terminal import show

if TYPE_CHECKING:
    from infra.fetch.outputs import Fetched, Wanted
    from infra.model import Output
    from infra.node.listing import AllLeft, Held, Left

SHOWN = 5
ANSWER_S = 300.0
MORE = "(the search for files outside of the working folder ran out of time: there may be more)"


def want(yes: bool = False, **wanted: Any) -> "Wanted":
    """Return what a fetch is to download; `yes` if very much of it needs no question."""
    from infra.fetch.outputs import Wanted

    return Wanted(choose=make_chooser(yes), **wanted)


def make_chooser(yes: bool, may_ask: bool = True) -> "Callable[[Sequence[Output]], Sequence[Output]]":
    """Return what decides which outputs are downloaded: all, unless they are very large; then it asks, once.

    Where nobody can answer, or may be asked, the smallest are downloaded, up to the size that needs no question.
    """
    from infra.fetch.pace import UNASKED_BYTES, fit, total_bytes

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
    """Show where so many bytes lie, and ask whether to download them; without an answer they are, since the machine may end."""
    show.largest_folders(missing)
    wait = show.duration(ANSWER_S)
    show.question(f"Download {show.size(total)}? [Y/n] (without an answer within {wait} it is) ")
    if not select.select([sys.stdin], [], [], ANSWER_S)[0]:
        show.say("no answer; downloading")
        return True
    answer = sys.stdin.readline()
    return bool(answer) and not answer.strip().lower().startswith("n")


def show_remains(home: "Fetched") -> None:
    """Say what was not downloaded of a job."""
    fetch = f"gpujob fetch{cluster_flag(home.receipt.cluster)} {home.receipt.job.number}"
    show_postponed(home, fetch)
    say_groups("not downloaded, outside of the working folder", home.told.left, fetch)
    if not home.told.left_complete:
        show.say(MORE)


def show_postponed(home: "Fetched", fetch: str) -> None:
    """Say which of a job's outputs were not downloaded, or are not there."""
    from infra.fetch.pace import total_bytes

    show.some([f"{path!r} was asked for with --output or [fetch] also, and is not there" for path in home.told.missing])
    if home.postponed:
        total = show.size(total_bytes(home.postponed))
        show.say(f"not downloaded yet: {show.plural(len(home.postponed), 'file')}, {total}; most of it:")
        show.largest_folders(home.postponed)
        show.say(f"  download it: {fetch} --yes")
    say_groups("not downloaded, because tools make it again", home.told.held, fetch)
    if home.told.excluded:
        show.say(f"not downloaded, excluded by --exclude or gpujob.toml: {name_groups(home.told.excluded)}")


def show_rescued(rescued: "Fetched | AllLeft", cluster: str, told: int = 0) -> None:
    """Say what was downloaded before a machine ends, and what its jobs, but for one, left outside of their working folders."""
    from infra.node.listing import AllLeft

    if not isinstance(rescued, AllLeft):
        show.fetched(rescued)
        show_postponed(rescued, f"gpujob fetch{cluster_flag(cluster)} {rescued.receipt.job.number}")
        return
    left = [each for each in rescued.left if each.jobs[:1] != (told,)]
    show_left(left, cluster)
    if left and not rescued.complete:
        show.say(MORE)


def say_groups(what: str, groups: "Sequence[Held | Left]", fetch: str) -> None:
    """Say what there is of some kind, the first few by name, and the command that downloads them."""
    if not groups:
        return
    show.say(f"{what}: {name_groups(groups)}")
    from infra.node.listing import output_options

    named = output_options(groups)
    show.say(
        f"  download it: {fetch} {named}" if named else "  no shell takes their names; download the folder around them"
    )


def name_groups(groups: "Sequence[Held | Left]") -> str:
    """Return groups of files with their sizes, the first few by name."""
    named = [f"{show.printable(each.path)} ({describe(each)})" for each in groups[:SHOWN]]
    more = len(groups) - SHOWN
    return ", ".join(named) + (
        f" and {more} more ({show.size(sum(g.size_bytes for g in groups[SHOWN:]))})" if more > 0 else ""
    )


def describe(group: "Held | Left") -> str:
    """Return how much there is in a group."""
    files = "" if group.files == 1 else f"{show.plural(group.files, 'file')}, "
    return files + show.size(group.size_bytes)


def show_left(left: "Sequence[Left]", cluster: str) -> None:
    """Say what jobs left outside of their working folders, job by job: a machine that ends takes it with it."""
    for number in sorted({job for each in left for job in each.jobs[:1]}):
        own = [each for each in left if each.jobs[:1] == (number,)]
        also = sorted({job for each in own for job in each.jobs[1:]})
        whose = f"job {number}" + (f" (or {', '.join(map(str, also))})" if also else "")
        say_groups(f"{whose} left outside of its working folder", own, f"gpujob fetch{cluster_flag(cluster)} {number}")
