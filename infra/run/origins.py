"""Submissions: local records of which project each job came from.

A job's record on the node names its project, too, but a node's data is never used as a local path.
"""

import json
from pathlib import Path

from infra import state
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.project.rules import RUNS


def note_submission(cluster: Cluster, number: int, root: Path) -> None:
    """Record from which project folder a job was submitted."""
    note = {"instance_id": cluster.nodes[0].instance_id, "project": str(root)}
    state.write_private(note_file(cluster, number), json.dumps(note))


def note_sent(name: str, number: int, root: Path) -> None:
    """Record from which project folder a job was sent, on whatever machines it will run."""
    folder = state.submissions_folder(name)
    state.write_private(folder / f"{number}.json", json.dumps({"instance_id": "", "project": str(root)}))


def find_runs(cluster: Cluster, number: int) -> Path | None:
    """Return the results folder in a job's project; None if that is unknown or deleted."""
    try:
        note = json.loads(note_file(cluster, number).read_text(encoding="utf-8"))
        root, machine = Path(note["project"]), note["instance_id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    its_own = machine == ("" if cluster.sent else cluster.nodes[0].instance_id)
    return root / RUNS if its_own and root.is_dir() else None


def choose_runs(name: str, number: int | None, here: Path) -> Path:
    """Return the results folder in a job's project, or `here` if that is unknown."""
    cluster = known_clusters.recall(name) if number else None
    return (cluster and number and find_runs(cluster, number)) or here


def note_file(cluster: Cluster, number: int) -> Path:
    """Return the file that records which project a job came from."""
    return state.submissions_folder(cluster.name) / f"{number}.json"
