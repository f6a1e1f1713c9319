"""Find the outputs of an earlier run on this computer, to start another job from them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra.errors import NodeError, NotFoundError
from infra.history.runs import Run, find_run
from infra.project.files import File, Project, drop_behind_links, read_file
from infra.project.hashes import Hashes
from infra.project.rules import lies_in
from infra.results.filenames import read_path
from infra.run.earlier import Earlier
from infra.run.options import read_options

LATEST = "latest"
NOTEBOOK = ("gpujob", "notebook")


def choose_run(runs: Sequence[Run], asked: str, cluster: str) -> Run:
    """Return the run with this number, name or key, or the latest; raises NotFoundError or UsageError."""
    if asked != LATEST:
        return find_run(runs, asked, cluster)
    found = [run for run in runs if tuple(run.job.command) != NOTEBOOK]
    if not found:
        raise NotFoundError("no runs yet in this project", "run one without --from")
    return found[-1]


def collect_outputs(runs: Sequence[Run], run: Run, project: Project) -> Earlier:
    """Return the downloaded outputs of a run and of its ancestors; raises NotFoundError.

    A file that the project has changed since is kept.
    """
    files: dict[str, File] = {}
    places: dict[str, Path] = {}
    for each in reversed(list_ancestry(runs, run)):
        for file, place in read_outputs(each):
            files[file.path], places[file.path] = file, place
    own = {file.path: file for file in project.files}
    since_ns = run.job.submitted_at * 1e9
    kept = [name for name, file in files.items() if name in own and is_newer(own[name], file, since_ns)]
    unused = {name for name in files if name in kept or lies_in(name, project.data)}
    chosen = tuple(file for name, file in files.items() if name not in unused)
    if not files:
        raise NotFoundError(
            f"no outputs of run {run.key} are on this computer",
            f"gpujob fetch --cluster {run.receipt.cluster} {run.job.number}",
        )
    return Earlier(run.key, files=chosen, places={file.path: places[file.path] for file in chosen}, kept=tuple(kept))


def list_ancestry(runs: Sequence[Run], run: Run) -> list[Run]:
    """Return a run, and those that it started from, latest first."""
    by_key = {each.key: each for each in runs}
    found = [run]
    while True:
        options = read_options(found[-1].job.source)
        before = by_key.get(options.start_from) if options else None
        if before is None or before in found:
            return found
        found.append(before)


def read_outputs(run: Run) -> list[tuple[File, Path]]:
    """Return the downloaded outputs of a run by their original names, and where they are."""
    root = run.folder / run.files
    aside = {(each.path, each.content): each.saved_as for each in run.receipt.renamed}
    saved = {}
    for output in run.receipt.outputs:
        try:
            name, path = aside.get((output.path, output.content), output.path), str(read_path(output.path))
            saved[str(read_path(name))] = path
        except NodeError:  # a name that was not saved
            continue
    hashes = Hashes(root)
    found = []
    for name in drop_behind_links(root, saved):
        file = read_file(root, name, hashes)
        if file:
            found.append((replace(file, path=saved[name]), root / name))
    hashes.save()
    return found


def is_newer(own: File, output: File, since_ns: float) -> bool:
    """Return whether the project's file differs from an output because it was changed since the run."""
    return (own.sha256, own.link) != (output.sha256, output.link) and own.mtime_ns > since_ns
