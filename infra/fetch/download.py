"""Downloading: which outputs are not here yet, and each of them to its place; a file with several names comes once."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.base.folders import local_errors, remove
from infra.model import Job, Output
from infra.node.listing import Outputs
from infra.node.packing import agent_argv
from infra.results.parts import check_room, count_left, name_part, write_part
from infra.results.shelf import WHY_NAME, Shelf
from infra.ssh import carry
from infra.ssh.connection import Connection


@dataclass(frozen=True)
class Download:
    """One download of a job's outputs."""

    connection: Connection
    job: Job
    trust: bool
    """Whether what came while the job was running counts as here without being read again."""
    report: Callable[[int], None]

    @property
    def interim(self) -> bool:
        """Whether what comes may still change, so that a later version replaces it."""
        return not self.job.over


def fill(
    run: Download,
    shelves: Sequence[Shelf],
    outputs: Sequence[Output],
    choose: Callable[[Sequence[Output]], Sequence[Output]],
) -> tuple[list[str], list[Output]]:
    """Download those of these outputs that are not here and that `choose` returns, each to its own shelf.

    Return the paths of those that were still being written, and those that were not chosen.
    """
    own = {shelf: [output for output in outputs if output.outside == shelf.outside] for shelf in shelves}
    missing = {shelf: list_missing(run, shelf, own[shelf]) for shelf in shelves}
    files = [output for each in missing.values() for output in each if output.link is None]
    chosen = set(choose(files))
    changing = []
    for shelf in shelves:
        coming = [output for output in missing[shelf] if output in chosen or output.link is not None]
        changing += download(run, shelf, own[shelf], coming)
    return changing, [output for output in files if output not in chosen]


def list_missing(run: Download, shelf: Shelf, outputs: Iterable[Output]) -> list[Output]:
    """Return those outputs that are not here; the others are confirmed."""
    missing = []
    for output in filter(shelf.admit, outputs):
        if shelf.holds(output, trust=run.trust):
            shelf.confirm(output, interim=run.interim)
        else:
            missing.append(output)
    return missing


def download(run: Download, shelf: Shelf, outputs: Sequence[Output], missing: Sequence[Output]) -> list[str]:
    """Download these of a shelf's outputs that are `missing`; return the paths of those that were still being written."""
    firsts = find_firsts(outputs)
    files = [output for output in missing if output.link is None]
    names = [output for output in files if firsts[output] is not output]
    arrived = receive(run, shelf, [output for output in files if firsts[output] is output])
    arrived |= {output for output in names if link(run, shelf, output, firsts[output])}
    arrived |= receive(run, shelf, [output for output in names if output not in arrived])
    for output in missing:
        if output.link is not None:
            save_link(output, output.link, shelf, interim=run.interim)
    return [output.path for output in files if output not in arrived]


def find_firsts(outputs: Iterable[Output]) -> dict[Output, Output]:
    """Return for each output the first that is the same file, as the node says and the hashes agree."""
    firsts: dict[tuple[str, str, int, bool], Output] = {}
    return {output: firsts.setdefault(output.file, output) for output in outputs}


def receive(run: Download, shelf: Shelf, outputs: Sequence[Output]) -> set[Output]:
    """Download the content of these files; return those that came whole."""
    results = shelf.results
    left = {output: count_left(output, results.parts) for output in outputs}
    check_room(left, results.parts, results.path)
    arrived = set()

    def take(output: Output, content: Iterator[bytes]) -> None:
        if write_part(content, output, results.parts, run.report):
            with local_errors(results.path / output.place):
                shelf.save(output, name_part(output), interim=run.interim)
            arrived.add(output)

    if left:
        carry.receive(run.connection, agent_argv("send", str(run.job.number)), left, take)
    return arrived


def link(run: Download, shelf: Shelf, output: Output, first: Output) -> bool:
    """Give a file that is here another name; return whether that could be done."""
    part = name_part(output)
    with suppress(OSError), shelf.opened(first) as (folder, name):
        remove(part, shelf.results.parts)
        os.link(name, part, src_dir_fd=folder, dst_dir_fd=shelf.results.parts, follow_symlinks=False)
        shelf.save(output, part, interim=run.interim)
        return True
    return False


def save_link(output: Output, target: str, shelf: Shelf, *, interim: bool) -> None:
    """Make a symbolic link as the job made it."""
    results, part = shelf.results, name_part(output)
    with local_errors(results.path / output.place):
        remove(part, results.parts)
        try:
            os.symlink(target, part, dir_fd=results.parts)
        except OSError:
            shelf.withhold(output.path, WHY_NAME)
        else:
            shelf.save(output, part, interim=interim)


def remove_gone(shelf: Shelf, job: Job, told: Outputs) -> list[str]:
    """Remove what came while the job was running and is not on the node any more, unless it was changed here.

    Return the paths that were removed. Nothing is, if the node cannot tell all that is there, or broke off in the midst.
    """
    if told.unreadable or job.state == "interrupted":
        return []
    there = {output.path for output in told.outputs if output.outside == shelf.outside} | set(told.unsettled)
    gone = [place for place in sorted(shelf.interim) if shelf.path_of(place) not in there]
    return [path for path in map(shelf.discard, gone) if path]
