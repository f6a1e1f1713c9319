"""Download missing outputs to their places; a file with several hard links is downloaded once."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from infra.base.folders import local_errors, remove
from infra.fetch.sources import Source
from infra.model import Job, Output
from infra.node.listing import Outputs
from infra.results.parts import check_room, count_left, name_part, write_part
from infra.results.shelf import WHY_NAME, Shelf


@dataclass(frozen=True)
class Download:
    """A download of a job's outputs."""

    source: Source
    job: Job
    trust: bool
    """Whether files downloaded while the job was running count as present without being read again."""
    report: Callable[[int], None]

    @property
    def interim(self) -> bool:
        """Whether the files may still change, so that later versions replace them."""
        return not self.job.over


def fill(
    run: Download,
    shelves: Sequence[Shelf],
    outputs: Sequence[Output],
    choose: Callable[[Sequence[Output]], Sequence[Output]],
) -> tuple[list[str], list[Output]]:
    """Download the missing outputs that `choose` returns, each to its shelf.

    Return the paths of those that were still being written, and the outputs that were not chosen.
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
    """Return the missing outputs; confirm the others."""
    missing = []
    for output in outputs:
        if run.trust and shelf.knows(output, interim=run.interim):
            continue  # the usual case while a job runs
        if not shelf.admit(output):
            continue
        if shelf.holds(output, trust=run.trust):
            shelf.confirm(output, interim=run.interim)
        else:
            missing.append(output)
    return missing


def download(run: Download, shelf: Shelf, outputs: Sequence[Output], missing: Sequence[Output]) -> list[str]:
    """Download a shelf's `missing` outputs; return the paths of those that were still being written."""
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
    """Return for each output the first that is the same file, according to the node and the hashes."""
    firsts: dict[tuple[str, str, int, bool], Output] = {}
    return {output: firsts.setdefault(output.file, output) for output in outputs}


def receive(run: Download, shelf: Shelf, outputs: Sequence[Output]) -> set[Output]:
    """Download the contents of these files; return those that are complete."""
    results = shelf.results
    left = count_left(outputs, results.parts)
    check_room(left, results.parts, results.path)
    arrived = set()

    def take(output: Output, content: Iterator[bytes]) -> None:
        if part := write_part(content, output, results.parts, run.report):
            with local_errors(f"{results.path}/{output.place}"):
                shelf.save(output, part, interim=run.interim)
            arrived.add(output)

    if left:
        run.source.receive(left, take)
    return arrived


def link(run: Download, shelf: Shelf, output: Output, first: Output) -> bool:
    """Hard-link a downloaded file; return whether that worked."""
    part = name_part(output)
    with suppress(OSError), shelf.opened(first) as (folder, name):
        remove(part, shelf.results.parts)
        os.link(name, part, src_dir_fd=folder, dst_dir_fd=shelf.results.parts, follow_symlinks=False)
        shelf.save(output, part, interim=run.interim)
        return True
    return False


def save_link(output: Output, target: str, shelf: Shelf, *, interim: bool) -> None:
    """Create the job's symbolic link."""
    results, part = shelf.results, name_part(output)
    with local_errors(f"{results.path}/{output.place}"):
        remove(part, results.parts)
        try:
            os.symlink(target, part, dir_fd=results.parts)
        except OSError:
            shelf.withhold(output.path, WHY_NAME)
        else:
            shelf.save(output, part, interim=interim)


def remove_gone(shelf: Shelf, job: Job, listing: Outputs) -> list[str]:
    """Remove interim files that the job has deleted, unless the local copy was modified.

    Return the removed paths. Nothing is removed if the node's listing is incomplete.
    """
    if listing.unreadable or job.state == "interrupted":
        return []
    there = {output.path for output in listing.outputs if output.outside == shelf.outside} | set(listing.unsettled)
    gone = [place for place in sorted(shelf.interim) if shelf.path_of(place) not in there]
    return [path for path in map(shelf.discard, gone) if path]
