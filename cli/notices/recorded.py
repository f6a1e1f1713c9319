"""The jobs of a cluster that no longer exists, from the receipts in `runs/`."""

from cli.notices.jobs import job_row
from cli.options.context import runs_here
from cli.terminal import show
from infra.errors import GoneError, GpujobError
from infra.history.runs import list_runs


def list_recorded(error: GpujobError, cluster: str, as_json: bool) -> None:
    """List the recorded jobs of a cluster that cannot be reached; raises the error if there are none."""
    runs = [run for run in list_runs(runs_here()) if run.receipt.cluster == cluster]
    if not runs:
        raise error
    show.say(f"{error.what}; showing the jobs recorded in runs/")
    if isinstance(error, GoneError):  # some of its resources may be left
        show.say(f"  next: {error.hint}")
    data = [run.receipt.to_dict() for run in runs]
    rows = [job_row(run.job) for run in runs]
    show.listing(rows, as_json, [{**one.pop("job"), **one} for one in data], droppable=("started", "name", "exit"))
