"""The node's interpreter, driver and GPUs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .records import HOME, UPLOAD_FAULT
from .usage import PATIENCE_S

# Where AWS's Deep Learning AMIs keep the Python that has PyTorch (older ones use conda), then the usual conda folders:
# https://docs.aws.amazon.com/dlami/latest/devguide/appendix-ami-release-notes.html
IMAGE_PYTHONS = (
    "/opt/gpujob/python/bin/python",  # installed by ansible/roles/python if the image's own Python has no torch
    "/opt/pytorch/bin/python",
    "/opt/conda/envs/pytorch/bin/python",
    *(f"~/{conda}/envs/pytorch/bin/python" for conda in ("miniforge3", "miniconda3", "anaconda3", ".conda")),
)
QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
PROOF = "import torch; a = torch.ones(64, 64, device='cuda'); assert (a @ a).sum().item() == 64 ** 3"


def base_python() -> str:
    """Return the interpreter for `python` in a job: the image's own if it has one, else python3."""
    own = [path for path in map(os.path.expanduser, IMAGE_PYTHONS) if os.access(path, os.X_OK)]
    return own[0] if own else shutil.which("python3") or sys.executable


def read_driver() -> str:
    """Return the NVIDIA driver's version as its module reports it; "" without one."""
    with contextlib.suppress(OSError):
        found = re.search(r"\s(\d+\.\d[\d.]*)\s", Path("/proc/driver/nvidia/version").read_text())
        return found[1] if found else ""
    return next((driver for _, driver in list_gpus()), "")  # on WSL, the module is that of Windows


def list_gpus() -> list[tuple[str, str]]:
    """Return the name of each GPU, with its driver's version; empty without GPUs or an answer."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(
            QUERY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE_S
        )
        lines = (line.rpartition(", ") for line in answer.stdout.decode("utf-8", "replace").splitlines())
        return [(name, driver) for name, _, driver in lines if name]
    return []


def probe() -> dict[str, Any]:
    """Return interpreter, driver, GPUs, and whether one can multiply matrices (None without a GPU)."""
    python, found, multiplied = base_python(), list_gpus(), None
    if found:
        multiplied = subprocess.run([python, "-c", PROOF], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return {
        "python": python,
        "gpus": [name for name, _ in found],
        "driver": found[0][1] if found else "",
        "multiplied": multiplied,
    }


def find_space() -> dict[str, int]:
    """Return the size of the jobs' disk and the free space available to the user."""
    disk = os.statvfs(HOME if HOME.exists() else HOME.parent)
    return {"disk_bytes": disk.f_blocks * disk.f_frsize, "disk_free_bytes": disk.f_bavail * disk.f_frsize}


def describe_space() -> dict[str, Any]:
    """Return what `find_space` does, and why nothing is uploaded to the bucket; "" if that works."""
    fault = ""
    with contextlib.suppress(OSError):
        fault = UPLOAD_FAULT.read_text(encoding="utf-8", errors="replace")
    return {**find_space(), "upload_fault": fault}
