"""A job's terminal, spoken to as the client does."""

import os
import select
import struct
import time

import pytest

from infra.node.attached import AttachedTerminal
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import kill

node = fixtures.node


TERMINAL = {"columns": 91, "rows": 17, "kind": "xterm"}
SCRIPT = b"""
import os, signal, sys, time
print(os.get_terminal_size(), sys.stdin.isatty(), os.environ["TERM"], flush=True)
resized = []
signal.signal(signal.SIGWINCH, lambda *_: resized.append(os.get_terminal_size()))
name = input("name? ")
while not resized: time.sleep(0.01)
print("hello", name, *resized, flush=True)
try:
    print("waiting", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.exit(7 if sys.stdin.read() == "" else 1)
"""


class Attached:
    """A client that is attached to a job."""

    def __init__(self, node, number: int, offset: int = 0) -> None:
        self.process = node.start("attach", str(number), str(offset))
        self.said = b""
        self.keys = AttachedTerminal(TERMINAL["columns"], TERMINAL["rows"])
        self.keys.lead(self.send)

    def send(self, data: bytes) -> None:
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def expect(self, what: bytes) -> bytes:
        """Read until this was said."""
        end = time.monotonic() + 90
        while what not in self.said:
            assert select.select([self.process.stdout], [], [], end - time.monotonic())[0], self.said
            data = os.read(self.process.stdout.fileno(), 4096)
            assert data, (self.said, self.process.stderr.read())
            self.said += data
        return self.said

    def hang_up(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()
        self.process.stderr.close()


def test_a_job_with_a_terminal_is_typed_to_and_interrupted_like_any_program(node):
    number = node.submit("python3", "ask.py", files={"ask.py": SCRIPT}, terminal=TERMINAL)
    client = Attached(node, number)
    client.expect(b"name? ")
    client.keys.type(b"Ada\r")
    client.keys.resize(120, 40)
    client.expect(b"waiting\n")
    client.keys.type(b"\x03")
    client.expect(b"interrupted")
    client.keys.type(b"\x04")
    record = node.wait(number)
    assert (record["state"], record["exit_code"]) == ("failed", 7)
    said = client.expect(b"interrupted\n")
    assert said.startswith(b"os.terminal_size(columns=91, lines=17) True xterm\nname? Ada\nhello Ada os.terminal_size(")
    assert b"columns=120, lines=40" in said
    assert said == node.ask("logs", str(number), "0")
    client.hang_up()


def test_a_job_keeps_its_terminal_when_clients_come_and_go(node):
    script = b"print('first', input('? '));print('second', input('? '), flush=True)"
    number = node.submit("python3", "ask.py", files={"ask.py": script}, terminal=TERMINAL)
    client = Attached(node, number)
    client.expect(b"? ")
    client.hang_up()
    again = Attached(node, number)
    again.keys.type(b"one\r")
    again.expect(b"first one\n? ")
    again.process.kill()
    again.process.communicate()
    third = Attached(node, number)
    third.keys.type(b"two\r")
    third.expect(b"second two\n")
    assert node.wait(number)["state"] == "succeeded"
    third.hang_up()


def test_what_is_typed_to_a_queued_job_waits_and_ctrl_c_cancels_it(node):
    ahead = node.submit("cat", token="ahead", gpus=1, terminal=TERMINAL)
    words = {"gpus": 1, "terminal": TERMINAL, "files": {"ask.py": b"print('got', input())"}}
    waiting, unwanted = (node.submit("python3", "ask.py", token=each, **words) for each in ("waiting", "unwanted"))
    clients = [Attached(node, each) for each in (ahead, waiting, unwanted)]
    clients[1].keys.type(b"early\r")
    clients[2].keys.type(b"\x03")
    assert node.wait(unwanted)["state"] == "cancelled"
    clients[0].keys.type(b"\x04")
    clients[1].expect(b"got early\n")
    assert node.wait(waiting)["state"] == "succeeded"
    for client in clients:
        client.hang_up()


def test_secrets_are_masked_also_when_they_are_typed(node):
    secrets = {"TOKEN": "s3cr3t-v4lue"}
    number = node.submit(
        "python3", "-c", "import os; print(os.environ['TOKEN']); input()", terminal=TERMINAL, secrets=secrets
    )
    client = Attached(node, number)
    client.expect(b"***\n")
    client.keys.type(b"s3cr3t-v4lue\r")
    node.wait(number)
    client.hang_up()
    assert node.ask("logs", str(number), "0").replace(b"\r", b"") == b"***\n***\n"


def test_a_terminal_outlives_its_runner(node):
    number = node.submit("python3", "-c", "print('got', input('? '))", terminal=TERMINAL)
    client = Attached(node, number)
    client.expect(b"? ")
    kill(node.identity(number, "runner"))
    client.keys.type(b"x\r")
    client.expect(b"got x\n")
    assert node.wait(number)["state"] == "succeeded"
    client.hang_up()


def test_a_large_paste_arrives_whole(node):
    text = "".join(f"line {number}\r" for number in range(2000))
    number = node.submit("python3", "-c", "print(sum(1 for _ in range(2000) if input()))", terminal=TERMINAL)
    client = Attached(node, number)
    for start in range(0, len(text), 1000):
        client.keys.type(text[start : start + 1000].encode())
        client.expect(text[start : start + 1000].replace("\r", "\n").rpartition("\n")[0].rpartition("\n")[2].encode())
    client.expect(b"\n2000\n")
    client.hang_up()


def test_a_job_without_a_terminal_has_nothing_to_attach_to(node):
    number = node.submit("true")
    process = node.start("attach", str(number), "0")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, f"job {number} has no terminal" in err.decode()) == (1, True)


@pytest.mark.parametrize("size", [struct.pack(">cH", b"W", 1) + b"x", struct.pack(">cH", b"?", 0)])
def test_frames_that_mean_nothing_are_ignored(node, size):
    number = node.submit("python3", "-c", "print('got', input())", terminal=TERMINAL)
    client = Attached(node, number)
    client.send(size)
    client.keys.type(b"x\r")
    client.expect(b"got x\n")
    client.hang_up()
