"""A node gets what the client uploaded to another one from there, checks it, and asks the client for the rest."""

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.agent.test_agent_data import announce, files_of
from tests.agent_fixtures import Node, in_blocks, install, interpreters, request

HOST, KEY = "127.0.0.1", "key of the peers"
BIG, SMALL = b"".join(b"%d\n" % n for n in range(300_000)), b"small"
FILES = {"big.bin": BIG, "small.txt": SMALL}


@pytest.fixture(params=interpreters())
def nodes(request, tmp_path) -> Iterator[tuple[Node, Node]]:
    """A node that shares and one that gets."""
    both = []
    for name in ("has", "gets"):
        (tmp_path / name).mkdir()
        install(tmp_path / name, request.param)
        both.append(Node(tmp_path / name, request.param))
    yield both[0], both[1]
    for node in both:
        node.power_off()


@contextlib.contextmanager
def sharing(node: Node, key: str = KEY) -> Iterator[dict]:
    """Let a node share; yield where, as the client tells another one."""
    process = node.start("share", HOST)
    process.stdin.write(f"{key}\n".encode())
    process.stdin.flush()
    yield {"address": HOST, "port": json.loads(process.stdout.readline())["port"], "key": KEY}
    assert process.communicate(timeout=60) == (b"", b"")  # its standard input has ended, and so has it


@contextlib.contextmanager
def lying(send: Callable[[socket.socket], None]) -> Iterator[dict]:
    """A peer that takes any proof, and answers as it likes."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(20)

        def answer() -> None:
            link = listening.accept()[0]  # fails after a while, without a request
            with link:
                link.sendall(b"0" * 32)
                link.recv(64, socket.MSG_WAITALL)
                link.recv(int.from_bytes(link.recv(8, socket.MSG_WAITALL), "big"), socket.MSG_WAITALL)
                send(link)

        thread = threading.Thread(target=answer)
        thread.start()
        yield {"address": HOST, "port": listening.getsockname()[1], "key": KEY}
        thread.join()


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def submit(node: Node, peer: dict, sent: list[bytes]) -> list[str]:
    """Submit a job that sums up its files, send these contents; return the hashes that the client is asked for."""
    script = "cat big.bin small.txt | sha256sum"
    answer = node.ask("submit", stdin=request(("sh", "-c", script), "t", FILES, sent, peer=peer, no_deps=True))
    asked, taken = map(json.loads, answer.splitlines())
    number = taken["job"]
    assert node.wait(number)["state"] == "succeeded"
    assert hash_of(BIG + SMALL) in node.ask("logs", str(number), "0").decode()
    kept = [path.read_bytes() for path in (node.home / ".gpujob/jobs").rglob("*") if path.is_file()]
    assert KEY.encode() not in b"".join(kept)
    return asked["missing"]


def push(node: Node, peer: dict | None, contents: dict[str, bytes], sent: bytes) -> list[list]:
    """Store a data set, send this; return the hashes, and offsets, that the client is asked for."""
    answer = node.ask("data-push", stdin=announce(files_of(contents), peer) + in_blocks(sent))
    asked, stored = map(json.loads, answer.splitlines())
    tree = node.home / ".gpujob/data/trees" / stored["version"] / "set"
    assert {path: (tree / path).read_bytes() for path in contents} == contents
    return asked["missing"]


def test_the_files_of_a_job_come_from_another_node_and_what_that_one_lacks_from_the_client(nodes):
    has, gets = nodes
    has.submit("true", files={"big.bin": BIG})
    with sharing(has) as peer:
        assert submit(gets, peer, [SMALL]) == [hash_of(SMALL)]


def test_the_files_of_a_data_set_come_from_another_node_from_where_an_earlier_transfer_stopped(nodes):
    has, gets = nodes
    push(has, None, FILES, BIG + SMALL)
    contents = {**FILES, "own": b"own"}
    cut = gets.start("data-push")
    _, complaint = cut.communicate(announce(files_of(contents)) + in_blocks(BIG[:5000]), timeout=60)
    assert b"the upload is incomplete" in complaint
    with sharing(has) as peer:
        assert push(gets, peer, contents, b"own") == [[hash_of(b"own"), 0]]


@pytest.mark.parametrize(
    "send",
    [
        lambda link: link.sendall(in_blocks(b"evil" * len(BIG) + SMALL)),
        lambda link: link.sendall(in_blocks(BIG)[:100]),
        lambda link: link.sendall(b"\xff" * 100),
    ],
    ids=["other contents", "an end in the middle", "no blocks"],
)
def test_a_peer_that_sends_anything_else_is_not_believed_and_the_client_is_asked(nodes, send):
    _, gets = nodes
    with lying(send) as peer:
        assert submit(gets, peer, [BIG, SMALL]) == [hash_of(BIG), hash_of(SMALL)]
    with lying(lambda link: link.sendall(in_blocks(b"other"))) as peer:
        assert push(gets, peer, {"new": b"still"}, b"still") == [[hash_of(b"still"), 0]]


def test_who_does_not_know_the_key_gets_nothing_and_who_does_gets_only_contents(nodes):
    has, gets = nodes
    has.submit("true", files=FILES)
    with sharing(has, key="another key") as peer:
        assert submit(gets, peer, [BIG, SMALL]) == [hash_of(BIG), hash_of(SMALL)]
    for address, key in (("", KEY), (HOST, "")):  # would listen on every address, or need no key
        process = has.start("share", address)
        out, complaint = process.communicate(f"{key}\n".encode(), timeout=60)
        assert (process.returncode, out) == (1, b"")
        assert b"takes a private address and a key" in complaint


def test_a_node_without_a_way_to_its_peer_asks_the_client_at_once(nodes):
    _, gets = nodes
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
    assert submit(gets, {"address": HOST, "port": port, "key": KEY}, [BIG, SMALL]) == [hash_of(BIG), hash_of(SMALL)]
