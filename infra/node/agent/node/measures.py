"""Measure a node within half a minute: driver, GPUs, torch, a matrix product, disks, lease, guard.

The client judges the results; a failed measurement is reported as text.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

from ..job.queue import held_gpus
from ..machine import base_python, read_driver
from ..records import numbers
from ..usage import PATIENCE_S
from .guard import lease_end

QUERY = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
SCRATCH = Path("/scratch")
DISK_BYTES, DISK_S, BLOCK_BYTES = 1 << 30, 2.5, 1 << 23
TORCH_S = 180
# The tensor cores' data type: bfloat16 from Ampere on, half before. GPU events time the products only.
TORCH = """
import json, sys, torch
gpus = []
for index in range(torch.cuda.device_count() if sys.argv[1] == "measure" else 0):
    device = torch.device("cuda", index)
    kind = torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    ones = torch.ones(64, 64, device=device, dtype=kind)
    assert (ones @ ones == 64).all().item(), "a product of ones is wrong"
    size, seconds, count = 8192, 0.0, 4
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in "ab")
    with torch.cuda.device(device):
        a @ b  # the first makes the library ready, which takes longer than all that follow
        torch.cuda.synchronize()
        while seconds < 0.3 and count < 10000:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in "be")
            begin.record()
            for _ in range(count):
                a @ b
            end.record()
            torch.cuda.synchronize()
            seconds, done, count = begin.elapsed_time(end) / 1000, count, count * 4
    gpus.append({"kind": str(kind)[6:], "tflops": 2 * size ** 3 * done / seconds / 1e12})
print(json.dumps({"version": torch.__version__, "seen": torch.cuda.device_count(), "products": gpus}))
"""


def measure() -> dict[str, Any]:
    """Return all measurements."""
    gpus, smi = list_gpus()
    busy = next(filter(held_gpus, numbers()), 0)
    until = lease_end()
    return {
        "driver": read_driver(),
        "smi": smi,
        "gpus": gpus,
        "busy": busy,
        "torch": ask_torch(base_python(), measuring=bool(gpus) and not busy),
        "disks": [
            measure_disk(name, path) for name, path in (("home", Path.home()), (str(SCRATCH), SCRATCH)) if path.is_dir()
        ],
        "lease_until": until if math.isfinite(until) else None,
        "guarded": any(words[-3:-2] == ["guard"] for words in command_lines()),
        "now": time.time(),
    }


def list_gpus() -> tuple[list[dict[str, Any]], str]:
    """Return each GPU's name and memory, and nvidia-smi's error: "absent" without it, "" if all is well."""
    if not shutil.which(QUERY[0]):
        return [], "absent"
    try:
        answer = subprocess.run(
            QUERY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not respond: {error}"
    text, gpus = answer.stdout.decode("utf-8", "replace"), []
    for line in text.splitlines():
        name, _, memory = line.rpartition(", ")
        if name and memory.isdigit():
            gpus.append({"name": name, "memory_bytes": int(memory) << 20})
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return gpus, "" if gpus and not answer.returncode else "; ".join(lines) or f"exit code {answer.returncode}"


def ask_torch(python: str, measuring: bool) -> dict[str, Any]:
    """Return torch's version, the GPUs it sees and their speed, or an "error"."""
    found = {"python": python, "version": "", "seen": 0, "products": [], "error": ""}
    words = [python, "-c", TORCH, "measure" if measuring else "look"]
    try:
        answer = subprocess.run(words, capture_output=True, check=False, timeout=TORCH_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {**found, "error": str(error)[:300]}
    if answer.returncode or not answer.stdout.strip():
        lines = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        return {**found, "error": (lines or [f"exit code {answer.returncode}"])[-1][:300]}
    return {**found, **json.loads(answer.stdout.decode().splitlines()[-1])}


def measure_disk(name: str, folder: Path) -> dict[str, Any]:
    """Measure a disk's write and read speed and its free space; bounded, and leaves nothing behind."""
    found = {"name": name, "free_bytes": 0, "written_bytes_s": 0.0, "read_bytes_s": 0.0, "error": ""}
    try:
        found["free_bytes"] = free = shutil.disk_usage(str(folder)).free
        path = folder / f".gpujob-verify-{os.getpid()}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            path.unlink()  # immediately, so that the kernel frees it whatever happens
            written, took = write_for_a_while(descriptor, min(DISK_BYTES, free // 10))
            found["written_bytes_s"] = written / took
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # otherwise memory would be measured
            os.lseek(descriptor, 0, os.SEEK_SET)
            start, count = time.monotonic(), 0
            while time.monotonic() - start < DISK_S:
                size = len(os.read(descriptor, BLOCK_BYTES))
                count += size
                if not size:
                    break
            found["read_bytes_s"] = count / max(time.monotonic() - start, 1e-6)
        finally:
            os.close(descriptor)
    except OSError as error:
        found["error"] = str(error)
    return found


def write_for_a_while(descriptor: int, most_bytes: int) -> tuple[int, float]:
    """Write incompressible data until it is on disk; return how much, and how long it took."""
    block, written, start = os.urandom(BLOCK_BYTES), 0, time.monotonic()
    while written + BLOCK_BYTES <= most_bytes and time.monotonic() - start < DISK_S:
        written += os.write(descriptor, block)
        os.fdatasync(descriptor)
    if not written:
        raise OSError("not enough free space")
    return written, time.monotonic() - start


def command_lines() -> Iterator[list[str]]:
    """Yield each process's command line as a list."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            yield Path("/proc", pid, "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
