"""Submissions: which project each job came from, as this laptop wrote it down.

A job's record on the node names its project too, but what a node says is never taken for a path here.
"""

import json
from pathlib import Path

from infra import state
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.project.rules import RUNS


def note_submission(cluster: Cluster, number: int, root: Path) -> None:
    """Write down from which project folder a job was submitted."""
    note = {"instance_id": cluster.node.instance_id, "project": str(root)}
    state.write_private(note_file(cluster, number), json.dumps(note))


def find_runs(cluster: Cluster, number: int) -> Path | None:
    """Return the folder for a job's results in its own project; None if that is unknown here, or gone."""
    try:
        note = json.loads(note_file(cluster, number).read_text(encoding="utf-8"))
        root, machine = Path(note["project"]), note["instance_id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return root / RUNS if machine == cluster.node.instance_id and root.is_dir() else None


def choose_runs(name: str, number: int | None, here: Path) -> Path:
    """Return the folder for a job's results; the one `here` unless another is known."""
    cluster = known_clusters.recall(name) if number else None
    return (cluster and number and find_runs(cluster, number)) or here


def note_file(cluster: Cluster, number: int) -> Path:
    """Return where it is written down from which project a job came."""
    return state.submissions_folder(cluster.name) / f"{number}.json"
