"""Commands of the agent that are started before they are needed: one process each, as ready and as reliable as any."""

import json
import os
import shlex
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from infra.errors import NotFoundError
from infra.model import Cluster
from infra.node import client
from infra.node.calls import expect
from infra.node.packing import agent_argv, pack_agent
from infra.ssh import commands
from infra.ssh.connection import Connection, connect
from tests.conftest import Laptop, wait_for


@pytest.fixture
def connection(rented: Laptop) -> Iterator[Connection]:
    record = json.loads((rented.home / ".local/state/gpujob/clusters/shared/cluster.json").read_text())
    with patch.dict(os.environ, HOME=str(rented.home)), connect(Cluster.from_dict(record)) as made:
        client.list_jobs(made)  # installs the agent
        yield made


@pytest.fixture
def started() -> Iterator[list[str]]:
    """The agent's arguments in each command as it starts."""
    found: list[str] = []
    start = commands.start

    def note(connection: Connection, argv: list[str]) -> object:
        found.append(" ".join(argv[len(agent_argv()) :]))
        return start(connection, argv)

    with patch.object(commands, "start", note):
        yield found


def test_an_expected_command_is_started_once_and_answers_as_it_would_have(connection, started):
    known = client.list_jobs(connection)
    expect(connection, "jobs")
    expect(connection, "jobs")
    assert [job.number for job in client.list_jobs(connection)] == [job.number for job in known]
    assert started == ["jobs", "await jobs"]
    with pytest.raises(NotFoundError, match="no job 99999"):
        expect(connection, "jobs")
        client.find_job(connection, 99999)
    assert started[2:] == ["await jobs"]


def test_an_expected_command_that_has_died_is_started_again(connection, started):
    expect(connection, "jobs")
    [early] = connection.early.values()
    early.result().close()
    client.list_jobs(connection)
    assert started == ["await jobs"] * 2


def test_an_expected_command_whose_agent_is_gone_is_called_once_more_after_installing_it(connection, started):
    commands.execute(connection, ["rm", "-f", pack_agent()[0]])
    expect(connection, "space")
    [early] = connection.early.values()
    wait_for(early.result().exit_status_ready, "exit code of an agent that is missing")
    assert client.find_space(connection).disk_bytes > 0


def test_what_is_expected_and_never_called_ends_with_the_connection(connection):
    expect(connection, "left")
    [early] = connection.early.values()
    early.result()
    alive = ["pgrep", "-f", f"{pack_agent()[0]}.* await left"]
    assert commands.execute(connection, ["sh", "-c", f"{shlex.join(alive)} | grep -v $$"]).stdout
    connection.transport.close()
    with connect(connection.cluster) as again:
        wait_for(
            lambda: not commands.execute(again, ["sh", "-c", f"{shlex.join(alive)} | grep -v $$"]).stdout,
            "end of the agent that nothing was asked of",
        )
