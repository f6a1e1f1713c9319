"""A node that is in use keeps the other nodes of its cluster from ending themselves."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.node.agent.node import neighbours as neighbouring
from infra.node.agent.node.neighbours import Neighbours
from tests.conftest import wait_for

KEY = "ab" * 32


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Neighbours]]:
    """Return what makes the neighbours of a node, as the client introduces them."""
    made = []

    def make(own: int, *others: int, key: str = KEY) -> Neighbours:
        record = tmp_path / f"{own}.json"
        places = [["127.0.0.1", port] for port in (own, *others)]
        record.write_text(json.dumps({"own": places[0], "others": places[1:], "key": key}))
        monkeypatch.setattr(neighbouring, "RECORD", record)
        made.append(Neighbours())
        assert not made[-1].exchange(busy=False)
        return made[-1]

    yield make
    for each in made:
        if each.link:
            each.link.close()


def test_a_busy_node_is_heard_of_by_the_others_and_an_idle_one_is_not(make):
    ports = free_ports(2)
    busy, idle = make(*ports), make(*reversed(ports))
    busy.exchange(busy=True)
    wait_for(lambda: idle.exchange(busy=False), "word of the busy node")
    busy.exchange(busy=False)
    assert not idle.exchange(busy=False)
    assert not busy.exchange(busy=False), "a node that only hears of another one tells nothing"


def test_a_stranger_is_not_heard(make):
    ports = free_ports(2)
    node, stranger = make(*ports), make(*reversed(ports), key="cd" * 32)
    stranger.exchange(busy=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"busy", ("127.0.0.1", ports[0]))
    assert not node.exchange(busy=False)


def test_a_node_without_others_hears_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbouring, "RECORD", tmp_path / "none")
    assert not Neighbours().exchange(busy=True)
