"""A job that has the terminal of this computer, typed to as a person types, and the ports of one that is followed."""

import fcntl
import os
import re
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conftest import Laptop, wait_for
from tests.typist import TYPIST, Request, Typed

SCRIPT = """
import os, sys, time
try:
    print("waiting"); time.sleep(60)
except KeyboardInterrupt:
    open("caught.txt", "w").write("yes")
breakpoint()
print("hello", input("name? "), os.get_terminal_size().columns, os.environ["TOKEN"])
sys.exit(7 if sys.stdin.read() == "" else 1)
"""


class Desk:
    """A terminal at which commands are typed, one after the other."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop = laptop
        self.ours, self.theirs = os.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.shown = ""

    def start(self, *words: str, **variables: str) -> Typed:
        environment = {**self.laptop.environment, "TERM": "xterm", **variables}
        return TYPIST.start(Request(words, str(self.laptop.project), environment), (self.theirs,) * 3)

    def expect(self, pattern: str) -> "re.Match[str]":
        """Read until something is shown, and forget what came before it."""
        end = time.monotonic() + 90
        while not (found := re.search(pattern, self.shown)):
            assert select.select([self.ours], [], [], max(end - time.monotonic(), 0))[0], self.shown
            self.shown += os.read(self.ours, 4096).decode(errors="replace").replace("\r\n", "\n")
        self.shown = self.shown[found.end() :]
        return found

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())


@pytest.fixture
def desk(project: Laptop) -> Iterator[Desk]:
    desk = Desk(project)
    yield desk
    os.close(desk.ours)
    os.close(desk.theirs)


def test_an_interactive_job_is_debugged_detached_and_attached_again(desk):
    desk.laptop.write("ask.py", SCRIPT)
    words = ("run", "--no-deps", "--interactive", "--secret", "TOKEN", "ask.py")
    first = desk.start(*words, TOKEN="s3cr3t-v4lue")
    number = desk.expect(r"job (\d+) has this terminal, also for Ctrl-C; Ctrl-\] detaches")[1]
    desk.expect("waiting\n")
    desk.type("\x03")
    desk.expect(r"\(Pdb\) ")
    desk.type("p 40 + 2\r")
    desk.expect(r"42\n\(Pdb\) ")
    desk.type("\x1d")
    desk.expect(rf"job {number} keeps running on shared.\n  Attach:    gpujob attach --cluster shared {number}\n")
    assert first.wait(30) == 130
    assert termios.tcgetattr(desk.theirs) == desk.before
    fcntl.ioctl(desk.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 132, 0, 0))
    second = desk.start("attach")
    desk.expect(r"has this terminal")
    desk.expect(r"\(Pdb\) ")
    desk.type("c\r")
    desk.expect(r"name\? ")
    desk.type("Ada\r")
    desk.expect(r"hello Ada 132 \*\*\*\n")
    desk.type("\x04")
    desk.expect(rf"job {number} failed \(exit 7\)")
    assert second.wait(30) == 7
    assert termios.tcgetattr(desk.theirs) == desk.before
    folder = desk.laptop.project / f"runs/shared-{number}"
    assert (folder / "files/caught.txt").read_text() == "yes"
    log = (folder / "job.log").read_text()
    assert "(Pdb) p 40 + 2\n42\n" in log.replace("\r", "")
    assert "s3cr3t" not in log


def test_a_closed_window_leaves_an_interactive_job_running(desk):
    desk.laptop.write("ask.py", "print('got', input('? '))")
    lost = desk.start("run", "--no-deps", "-i", "ask.py")
    number = desk.expect(r"job (\d+) has this terminal")[1]
    desk.expect(r"\? ")
    os.kill(lost.pid, signal.SIGKILL)
    lost.wait(30)
    termios.tcsetattr(desk.theirs, termios.TCSANOW, desk.before)
    again = desk.start("attach", number)
    desk.expect("has this terminal")
    desk.type("it\r")
    desk.expect(r"got it\n")
    assert again.wait(30) == 0


def test_without_a_terminal_it_is_refused_and_a_job_that_asks_says_what_to_type(project):
    project.write("ask.py", "breakpoint()\n")
    refused = project.type("run", "--interactive", "ask.py")
    assert (refused.code, "--interactive needs a terminal" in refused.err) == (2, True), refused.said
    for flag in ("--interactive", "--port=6006"):
        both = project.type("run", flag, "--detach", "ask.py")
        assert (both.code, "cannot be used with --detach" in both.err) == (2, True), both.said
    run = project.type("run", "--no-deps", "ask.py")
    command = "gpujob run --cluster shared --interactive --no-deps ask.py"
    said = f"the job has no terminal, which breakpoint() and input() need. Give it one: {command}"
    assert said in run.err, run.said


def test_ports_are_forwarded_while_the_job_is_followed(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = project.type("run", "--port", f"{port}:6006", "--", "true")
    assert (refused.code, f"port {port} is in use" in refused.err) == (2, True), refused.said
    with socket.create_server(("127.0.0.1", 0)) as free:
        there = free.getsockname()[1]
    project.write(
        "serve.py",
        "import socket\n"
        f"peer, _ = socket.create_server(('127.0.0.1', {there})).accept()\n"
        "print('got', peer.recv(9).decode())\n",
    )
    run = project.start("run", "--no-deps", "--port", f"{port}:{there}", "serve.py")

    def ask() -> bool:
        """Send a request until it is read; before the job listens, connections are closed."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as asking:
            asking.sendall(b"a request")
            asking.recv(1)
        return run.poll() is not None

    wait_for(ask, "end of the job")
    out, err = run.communicate(60)
    assert out.decode() == "got a request\n", err
    assert f"port {there} of the machine: http://127.0.0.1:{port}\n" in err.decode()
