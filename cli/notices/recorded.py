"""The jobs of a cluster that no longer exists, and what they printed, from `runs/`."""

from pathlib import Path, PurePosixPath

from cli.facts.jobs import flat_facts
from cli.notices.jobs import job_row
from cli.options.context import runs_here
from cli.options.durations import Since
from cli.terminal import show
from cli.terminal.output import Output
from infra.errors import GoneError, GpujobError, UnbegunError
from infra.history.runs import Run, list_runs
from infra.results.folder import LOG
from infra.results.receipts import FILES

LOG_BYTES = 1 << 30


def list_recorded(error: GpujobError, cluster: str, as_json: bool) -> None:
    """List the recorded jobs of a cluster that cannot be reached; raises the error if there are none."""
    runs = [run for run in list_runs(runs_here()) if run.receipt.cluster == cluster]
    if not runs:
        raise error
    say_instead(error, "the jobs recorded in runs/")
    rows = [job_row(run.job, run.folder) for run in runs]
    for run, row in zip(runs, rows, strict=True):
        if not run.job.over and not isinstance(error, UnbegunError):  # nothing runs there any more
            row["state"] = f"was {row['state']}"
    show.listing(
        rows, as_json, [flat_facts(run.receipt.to_dict()) for run in runs], droppable=("started", "name", "exit")
    )


def read_log(error: GpujobError, cluster: str, job: int | str | None, task: int | None = None) -> bytes:
    """Return the saved output of an unreachable job or task, by default the latest job's.

    Raises the given error if there is none.
    """
    log = LOG if task is None else f"{FILES}/{task}.log"
    runs = [run for run in list_runs(runs_here()) if run.receipt.cluster == cluster and is_asked(run, job)]
    saved = runs[-1].read_end(PurePosixPath(log), LOG_BYTES) if runs else b""
    if not saved:
        raise error
    say_instead(
        error, f"the output of job {runs[-1].job.number} saved in {runs[-1].folder / log}", runs[-1].folder / log
    )
    return saved


def print_saved(log: bytes, output: Output, tail: int | None, since: Since | None) -> None:
    """Print the saved output of a job, from the line or byte asked for; it has no times."""
    if tail is not None:
        log = b"".join(log.splitlines(keepends=True)[-tail:]) if tail else b""
    elif since and since.offset is not None:
        log = log[since.offset :]
    elif since:
        show.say("the saved output has no times: showing all of it")
    output.write(log)
    output.flush()


def is_asked(run: Run, job: int | str | None) -> bool:
    """Return whether a run has this number or name."""
    return job is None or job in (run.job.number, run.job.name)


def say_instead(error: GpujobError, what: str, *links: Path) -> None:
    """Say what is shown, and why it is not from the machine."""
    show.say(f"{error.what}; showing {what}", links=links)
    if isinstance(error, GoneError):  # some of its resources may be left
        show.say(f"  next: {error.hint}")
