"""The tasks of an array are told when AWS reclaims their machine, and it gets no further ones."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.test_arrays import array, outputs, states
from tests.agent_fixtures import Node, install
from tests.away_fixtures import Metadata
from tests.conftest import wait_for

SAVING = "trap 'echo saved > saved; exit 0' TERM; while :; do sleep 0.05; done"


@dataclass(frozen=True)
class Spot(Node):
    """A node with a metadata service."""

    metadata: Metadata

    @property
    def environment(self) -> dict[str, str]:
        place = f"http://127.0.0.1:{self.metadata.server_port}"
        return {**super().environment, "AWS_EC2_METADATA_SERVICE_ENDPOINT": place}


@pytest.fixture
def spot(tmp_path: Path) -> Iterator[Spot]:
    (tmp_path / "home").mkdir()
    install(tmp_path / "home", sys.executable)
    node = Spot(tmp_path / "home", sys.executable, Metadata("i-0123456789abcdef0"))
    yield node
    node.power_off()
    node.metadata.shutdown()
    node.metadata.server_close()


def test_tasks_save_when_their_machine_is_reclaimed_and_no_others_begin_there(spot: Spot) -> None:
    number = spot.submit("sh", "-c", SAVING, array=array(4, share=2), slots=0)
    wait_for(lambda: states(spot, number) == ["running", "running", "queued", "queued"], "two tasks")
    wait_for(lambda: len(spot.processes(SAVING)) >= 2, "their processes")
    notice = json.dumps({"action": "terminate", "time": "2030-01-01T00:00:00Z"})
    spot.metadata.entries["meta-data/spot/instance-action"] = notice
    spot.start("guard", "0", "1")
    wait_for(lambda: "running" not in states(spot, number)[:2], "their end")
    assert states(spot, number)[2:] == ["queued", "queued"]
    assert {"0/saved", "1/saved"} <= outputs(spot, number).keys()
