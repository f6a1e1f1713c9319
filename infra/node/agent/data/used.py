"""List and remove stored data sets, and find the jobs that use them."""

from __future__ import annotations

from typing import Any

from .. import trees
from ..records import AgentError, folder_of, is_supervised, numbers, read_json
from .store import find_changed, find_record, list_records, locked

SHOWN = ("version", "path", "source", "files", "size_bytes", "stored_at")


def list_sets(*versions: str) -> list[dict[str, Any]]:
    """Return these versions of data sets, or all, with their jobs and the number of changed files."""
    return [
        {
            **{name: record[name] for name in SHOWN},
            "jobs": find_users(record["version"]),
            "changed": len(find_changed(root, record)),
        }
        for root, record in (filter(None, map(find_record, versions)) if versions else list_records())
    ]


def find_users(version: str) -> list[int]:
    """Return the jobs that use a version and have not ended."""
    return [number for number in numbers() if version in versions_of(number).values() and is_alive(number)]


def is_alive(number: int) -> bool:
    """Return whether a job has not ended."""
    return is_supervised(folder_of(number))


def versions_of(number: int) -> dict[str, str]:
    """Return the versions that a job uses, by path."""
    folder = folder_of(number)
    asked = {each["path"]: each["version"] for each in read_json(folder / "job.json", {}).get("data", [])}
    return {**asked, **read_json(folder / "state.json", {}).get("data", {})}


def remove(*versions: str) -> dict[str, int]:
    """Remove versions and the contents that only they have; return the disk space freed.

    Raises AgentError and removes none if a job that has not ended uses one of them.
    """
    found = [(version, find_record(version)) for version in dict.fromkeys(versions)]
    for version, place in found:
        if place is None:
            raise AgentError(f"no data set has the version {version[:12]}")
        users = find_users(version)
        if users:
            raise AgentError(f"job {users[0]} uses {place[1]['path']}")
    freed_bytes = 0
    for root in {place[0] for _, place in found if place}:
        with locked(root):
            for version, place in found:
                if place is not None and place[0] == root:
                    (root / "trees" / f"{version}.json").unlink()
                    trees.remove(root / "trees" / version)
            for content in (root / "files").glob("*/*"):
                info = content.lstat()
                if info.st_nlink == 1:
                    content.unlink()
                    freed_bytes += info.st_blocks * 512
    return {"freed_bytes": freed_bytes}
