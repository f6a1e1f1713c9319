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

from .records import HOME

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
    return ""


def probe() -> dict[str, Any]:
    """Return interpreter, driver, GPUs, and whether one can multiply matrices (None without a GPU)."""
    python, gpus, driver, multiplied = base_python(), [], "", None
    if shutil.which("nvidia-smi"):
        lines = subprocess.run(QUERY, stdout=subprocess.PIPE, check=False).stdout.decode().splitlines()
        pairs = [line.split(", ") for line in lines if ", " in line]
        gpus, driver = [name for name, _ in pairs], pairs[0][1] if pairs else ""
    if gpus:
        multiplied = subprocess.run([python, "-c", PROOF], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return {"python": python, "gpus": gpus, "driver": driver, "multiplied": multiplied}


def find_space() -> dict[str, int]:
    """Return the size of the jobs' disk and the free space available to the user."""
    disk = os.statvfs(HOME if HOME.exists() else HOME.parent)
    return {"disk_bytes": disk.f_blocks * disk.f_frsize, "disk_free_bytes": disk.f_bavail * disk.f_frsize}
