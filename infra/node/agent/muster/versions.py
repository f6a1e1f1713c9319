"""The torch that each part of a job has: processes of different versions fail to meet, or hang."""

from __future__ import annotations

import subprocess

LOOK = """
import importlib.util
if importlib.util.find_spec("torch"):
    try:
        from importlib.metadata import version
        print(version("torch"))
    except Exception:
        print("of an unknown version")
"""


def read_torch(python: str) -> str:
    """Return the version of the torch that an interpreter has; "" without one."""
    process = subprocess.run([python, "-c", LOOK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return process.stdout.decode("utf-8", "replace").strip()


def compare(torches: dict[str, str]) -> str:
    """Return how the torch differs between nodes, given by their names; "" if it does not."""
    if len(set(torches.values())) < 2:
        return ""
    there = {name: torch for name, torch in torches.items() if torch}
    missing = [name for name in torches if name not in there]
    if missing:
        name, torch = next(iter(there.items()))
        return f"torch is missing on {', '.join(missing)}, while {name} has torch {torch}"
    return "torch differs: " + ", ".join(f"{torch} on {name}" for name, torch in there.items())
