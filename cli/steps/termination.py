"""The end of a cluster with its job: run --down."""

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cli.cluster.removal import drain_outputs, find_accounts, terminate
from cli.notices import billing
from cli.options.context import own_name
from cli.terminal import show
from infra.errors import GpujobError, LossError, UsageError

if TYPE_CHECKING:
    from infra.model import Cluster, Job


def check_down(context: click.Context, cluster: "Cluster", detach: bool) -> None:
    """Raise UsageError if --down could not take effect, or would terminate a cluster that was not named."""
    if detach:
        raise UsageError(
            "--down and --detach do not go together: --down waits for the download", "leave out one of them"
        )
    typed = context.get_parameter_source("cluster") is ParameterSource.COMMANDLINE
    if not typed and cluster.name != own_name(None):
        raise UsageError(
            f"--down would terminate {cluster.name}, which is not this folder's own cluster",
            f"to do that, add --cluster {cluster.name}",
        )


def terminate_after(cluster: "Cluster", job: "Job", downloaded: bool, yes: bool = False) -> None:
    """Terminate a cluster after its job, unless something would be lost or another job is running or queued; say so then.

    Raises GpujobError, with the job's own exit code unless that is 0, if the cloud does not do it.
    """
    try:
        if not downloaded:
            raise LossError(f"not all that job {job.number} wrote was downloaded")
        accounts = find_accounts(cluster.name)
        drain_outputs(cluster.name, accounts, yes=yes, told=job.number)
        terminate(cluster.name, accounts)
    except LossError as error:
        show.say(
            f"--down did not terminate {cluster.name}: {error.what}" + f"\n  next: {error.hint}" * bool(error.hint)
        )
        billing.remind(cluster)
    except GpujobError as error:
        error.exit_code = job.exit_code or 1
        unsure = billing.running(cluster, certain=False)
        billing.add_notes(error, f"--down did not terminate {cluster.name}; {unsure}")
        raise
