"""Runs: the jobs of a project that have a receipt in its `runs/`.

A receipt comes from a node, and `runs/` may come with someone else's project: what does not decode is left out.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infra.base.folders import Descent, open_folder, read_end
from infra.errors import NodeError, NotFoundError, UsageError
from infra.model import Job
from infra.names import NAME
from infra.results.filenames import read_path
from infra.results.receipts import FILES, Receipt, is_results, load_receipt

HINT = "gpujob runs"


@dataclass(frozen=True)
class Run:
    """A job with its results on this computer."""

    folder: Path
    receipt: Receipt

    @property
    def job(self) -> Job:
        """The job, as it was when its results were last downloaded."""
        return self.receipt.job

    @property
    def key(self) -> str:
        """Its identifier in the project: CLUSTER-NUMBER."""
        return f"{self.receipt.cluster}-{self.job.number}"

    @property
    def files(self) -> str:
        """The folder of its outputs, relative to its own."""
        return FILES if self.receipt.folder == FILES else "."

    @contextmanager
    def open_parent(self, path: PurePosixPath) -> Iterator[int]:
        """Yield the folder of a path below its own; raises OSError if a part is a link or missing."""
        with ExitStack() as opened:
            descent = opened.enter_context(Descent(opened.enter_context(open_folder(self.folder))))
            for part in path.parent.parts:
                descent.enter(part)
            yield descent.folder

    def read_end(self, path: PurePosixPath, most_bytes: int) -> bytes:
        """Return the end of one of its files; empty if there is no such regular file."""
        with suppress(OSError), self.open_parent(path) as parent:
            return read_end(path.name, parent, most_bytes)
        return b""

    def find_outputs(self, names: Sequence[str]) -> list[PurePosixPath]:
        """Return its outputs with these file names: the least nested first, then in the order of the names."""
        found = []
        for output in self.receipt.outputs:
            if output.path.rpartition("/")[2] in names and output.link is None:
                with suppress(NodeError):
                    found.append(read_path(output.path))
        return sorted(found, key=lambda path: (len(path.parts), names.index(path.name), str(path)))


def list_runs(runs: Path) -> list[Run]:
    """Return the runs in a project's results folder, oldest first."""
    try:
        folders = sorted(runs.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (read_run(folder) for folder in folders if is_results(folder))
    return sorted(filter(None, found), key=lambda run: (run.job.submitted_at, run.key))


def read_run(folder: Path) -> Run | None:
    """Return the run in a results folder; None if its receipt cannot be read."""
    receipt = load_receipt(folder)
    return Run(folder, receipt) if receipt and NAME.fullmatch(receipt.cluster) else None


def find_run(runs: Sequence[Run], asked: str, cluster: str) -> Run:
    """Return the run with this number, folder or job name; of several, the cluster's, then the latest.

    Raises NotFoundError, or UsageError if a number is that of runs on several other clusters.
    """
    if asked.isdecimal():
        found = [run for run in runs if run.job.number == int(asked)]
        own = [run for run in found if run.receipt.cluster == cluster]
        if len(found) > 1 and not own:
            keys = [run.key for run in found]
            raise UsageError(f"{asked} is the number of several runs: {', '.join(keys)}", "use one of these names")
        found = own or found
    else:
        found = [run for run in runs if asked in (run.key, run.folder.name)]
        found = found or [run for run in runs if asked == run.job.name]
    if not found:
        raise NotFoundError(f"no run '{asked}' in this project's runs folder", HINT)
    return found[-1]
