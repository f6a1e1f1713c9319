"""What the node is: its interpreter, its driver, its GPUs."""

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

# Where AWS's Deep Learning AMIs keep the Python that has PyTorch, as their release notes say, the older ones by conda; then where
# people's own condas do: https://docs.aws.amazon.com/dlami/latest/devguide/appendix-ami-release-notes.html
IMAGE_PYTHONS = (
    "/opt/gpujob/python/bin/python",  # where ansible/roles/python puts one, if the image's own has no torch
    "/opt/pytorch/bin/python",
    "/opt/conda/envs/pytorch/bin/python",
    *(f"~/{conda}/envs/pytorch/bin/python" for conda in ("miniforge3", "miniconda3", "anaconda3", ".conda")),
)
QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
PROOF = "import torch; a = torch.ones(64, 64, device='cuda'); assert (a @ a).sum().item() == 64 ** 3"


def base_python() -> str:
    """Return the interpreter that `python` means for a job: the image's own if it has one, else python3."""
    own = [path for path in map(os.path.expanduser, IMAGE_PYTHONS) if os.access(path, os.X_OK)]
    return own[0] if own else shutil.which("python3") or sys.executable


def read_driver() -> str:
    """Return the version of the NVIDIA driver as its module tells it; "" where there is none."""
    with contextlib.suppress(OSError):
        found = re.search(r"\s(\d+\.\d[\d.]*)\s", Path("/proc/driver/nvidia/version").read_text())
        return found[1] if found else ""
    return ""


def probe() -> dict[str, Any]:
    """Return the interpreter, the driver, the GPUs, and whether one has multiplied two matrices (None: there is none)."""
    python, gpus, driver, multiplied = base_python(), [], "", None
    if shutil.which("nvidia-smi"):
        lines = subprocess.run(QUERY, stdout=subprocess.PIPE, check=False).stdout.decode().splitlines()
        pairs = [line.split(", ") for line in lines if ", " in line]
        gpus, driver = [name for name, _ in pairs], pairs[0][1] if pairs else ""
    if gpus:
        multiplied = subprocess.run([python, "-c", PROOF], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return {"python": python, "gpus": gpus, "driver": driver, "multiplied": multiplied}


def find_space() -> dict[str, int]:
    """Return how large the disk of the jobs is, and how much of it the user may still fill."""
    disk = os.statvfs(HOME if HOME.exists() else HOME.parent)
    return {"disk_bytes": disk.f_blocks * disk.f_frsize, "disk_free_bytes": disk.f_bavail * disk.f_frsize}
