"""A stopped cluster whose outputs are all here can be terminated; one that ran in the meantime cannot."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.ledger.drained import drained_file, is_drained, note_drained
from infra.model import Cluster, Node
from tests.here import move_in

NODE = Node("i-1", "stopped", "", 22, "g5.xlarge", "us-east-1a")
STOPPED = Cluster("demo", "local", "us-east-1", (NODE,), None, 1.0, 2e9, 1e9, "arn:aws:iam::1:user/u")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move_in(tmp_path, monkeypatch)


def test_a_cluster_that_was_stopped_when_all_was_downloaded_is_drained():
    assert not is_drained(STOPPED)
    note_drained(STOPPED)
    assert is_drained(STOPPED)


@pytest.mark.parametrize(
    "changed",
    [
        {"launched_at": 1e9 + 1},  # started and stopped by other means
        {"nodes": (replace(NODE, state="running"),)},
        {"nodes": (replace(NODE, instance_id="i-2"),)},
        {"nodes": (NODE, NODE)},
    ],
    ids=["started", "running", "replaced", "several"],
)
def test_a_cluster_that_is_not_as_it_was_is_not_drained(changed):
    note_drained(STOPPED)
    assert not is_drained(replace(STOPPED, **changed))


def test_nothing_is_recorded_of_several_machines_and_a_broken_record_counts_as_none():
    note_drained(replace(STOPPED, nodes=(NODE, NODE)))
    assert not drained_file("demo").exists()
    note_drained(STOPPED)
    drained_file("demo").write_text("{")
    assert not is_drained(STOPPED)
