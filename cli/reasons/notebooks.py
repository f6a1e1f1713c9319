"""A notebook could not be executed because a program is missing."""

import re

from cli.reasons.failure import Failure

NBCONVERT = ("python", "-m", "nbconvert")


def explain(failure: Failure) -> str:
    """Return what to install; "" if this is not the reason."""
    if failure.job.command[:3] != NBCONVERT:
        return ""
    found = re.search("No module named '?(nbconvert|ipykernel)|(No such kernel)", failure.log)
    if found is None:
        return ""
    missing = found[1] or "ipykernel"
    return f"{missing} is not installed for this job: add nbconvert and ipykernel to requirements.txt, then rerun"
