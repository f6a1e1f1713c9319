"""A job did not find a file that exists on this computer, but was not uploaded."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from cli.notices.withheld import describe, find_excluded
from cli.reasons.failure import Failure
from infra.errors import GpujobError
from infra.node.agent.outputs.asked import PRIVATE

# What programs print when a file does not exist: Python, C libraries, shells, OpenCV, HDF5, NumPy, transformers.
NOT_FOUND = re.compile(
    r"no such file|FileNotFoundError|can't open|cannot open|unable to open|not found|does not exist|couldn't find"
    r"|not a local folder|not a directory",
    re.IGNORECASE,
)
QUOTED = re.compile(r"""(["'`])(.{1,1024}?)\1""")


def explain(failure: Failure) -> str:
    """Return why the missing file was not uploaded, and how to upload it; "" if no such file is named."""
    names = list(names_in(failure.log))
    try:
        found = next(find_excluded(failure.read(), names), None) if names else None
    except GpujobError:  # the job's own error is what counts
        found = None
    if found is None:
        return ""
    upload = advise_home(Path(found.path), failure.cluster.name) or found.advice
    return f"{describe(found)}: it is on this computer, but was not uploaded.\n  Upload it: {upload}"


def advise_home(path: Path, cluster: str) -> str:
    """Return the command that copies a settings file from this home folder to the machine's; else "".

    Never for a private key or another credential: a job may claim to miss any file.
    """
    name = path.relative_to(Path.home()) if path.is_relative_to(Path.home()) else Path("no dot")
    if not name.parts[0].startswith(".") or name.parts[0] in PRIVATE or not path.is_file():
        return ""
    command = f"mkdir -p {shlex.quote(str(name.parent))} && cat > {shlex.quote(str(name))}"
    return f"gpujob ssh {cluster} -- {shlex.quote(command)} < ~/{shlex.quote(str(name))}"


def names_in(log: str) -> Iterator[str]:
    """Yield possible file names in messages about files that do not exist, latest first."""
    for line in reversed([line for line in log.splitlines() if NOT_FOUND.search(line)]):
        yield from (found[2] for found in QUOTED.finditer(line))
        yield from (word.strip("\"'`:,;.()[]") for word in line.split() if "." in word or "/" in word)
