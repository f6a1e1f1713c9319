"""A job has filled the disk of its machine."""

from cli.options.context import cluster_flag
from cli.reasons.failure import Failure

FULL = "No space left on device"


def explain(failure: Failure) -> str:
    """Return how to get more space; "" if the machine's disk was not full."""
    if FULL not in failure.job.reason:
        return ""
    flag = cluster_flag(failure.cluster.name)
    return (
        f"free disk space: gpujob jobs rm{flag} --done\n  or launch a machine with a larger disk: gpujob up --disk GIB"
    )
