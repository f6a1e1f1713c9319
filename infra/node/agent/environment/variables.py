"""The environment variables of a job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping

from ..records import work_of
from . import overlay


def list_variables(
    folder: Path, job: dict[str, Any], state: dict[str, Any], own: str, nodes: Mapping[str, str]
) -> dict[str, str]:
    """Return a job's environment: the login's, the user's, ours, and those about several `nodes`."""
    outputs = work_of(folder) / job["workdir"] / "outputs"
    if outputs.exists() and not outputs.is_dir():
        outputs = outputs.with_name("gpujob-outputs")  # the project has a file of that name
    outputs.mkdir(parents=True, exist_ok=True)
    base = state.get("base", job["python"])
    programs = [str(Path(python).parent) for python in (own, state.get("python", base), base)]
    return {
        **os.environ,
        **overlay.variables(own),
        "PATH": os.pathsep.join([*dict.fromkeys(programs), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # on a crash or an abort, print Python's stacks into the log
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, state["gpus"])),
        **({"TERM": job["terminal"]["kind"]} if job.get("terminal") else {}),
        **nodes,
        **job["env"],
        "GPUJOB_JOB": folder.name,
        "GPUJOB_COMMIT": str(job.get("source", {}).get("commit", "")),
        "GPUJOB_OUTPUTS": str(outputs),
        "GPUJOB_PYTHON": own,
    }
