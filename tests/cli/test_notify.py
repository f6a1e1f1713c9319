"""A job's end is announced as the user asked, and a failing announcement affects nothing."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from cli.notices import ending
from cli.notices.ending import notify, watching_lease
from infra.ledger.known_clusters import recall, remember
from infra.model import Cluster, Gpu, Node
from tests.conftest import epoch, wait_for
from tests.here import move_in

JOB = SimpleNamespace(number=2, name="resnet", state="failed", outcome="failed", exit_code=1, seconds=90.0, reason="")
TEXT = "job 2 on stud failed (exit 1) after 1 min 30 s"


class Server(HTTPServer):
    """A server that keeps what is posted to it."""

    posted: tuple[bytes, ...] = ()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.posted += (self.rfile.read(int(self.headers["Content-Length"])),)
        self.send_response(200 if self.path == "/" else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server of this computer."""
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_url_gets_the_facts(server, capsys):
    notify(f"http://127.0.0.1:{server.server_port}/", "stud", JOB)
    (posted,) = map(json.loads, server.posted)
    assert posted == {"text": TEXT, "cluster": "stud", "job": 2, "name": "resnet", "state": "failed", "exit_code": 1}
    assert capsys.readouterr().err == ""


def test_a_command_gets_the_message(tmp_path):
    notify(f'printf %s "$MESSAGE" > {tmp_path}/said', "stud", JOB)
    assert (tmp_path / "said").read_text() == TEXT


@pytest.mark.parametrize("program", ["notify-send", "osascript"])
def test_the_desktop_gets_the_message_as_an_argument(tmp_path, monkeypatch, program):
    script = tmp_path / program
    script.write_text(f'#!/bin/sh\nfor last; do :; done\nprintf %s "$last" > {tmp_path}/said\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    notify("desktop", "stud", JOB)
    assert (tmp_path / "said").read_text() == TEXT


@pytest.fixture
def stud(tmp_path, monkeypatch) -> Cluster:
    """A cluster whose lease ends in a quarter of an hour; a second passes in an instant."""
    move_in(tmp_path, monkeypatch)
    monkeypatch.setattr(ending, "LOOK_EVERY_S", 0.01)
    node = Node("i-1", "running", "127.0.0.1", 1, "g4dn.xlarge", "us-east-1a")
    now = time.time()
    cluster = Cluster("stud", "aws", "us-east-1", (node,), Gpu("T4"), 0.526, now + 900, now - 3600, "arn:aws:iam::1:u")
    remember(cluster)
    return cluster


def test_the_end_of_a_lease_is_announced_once_ten_minutes_before_and_again_for_an_extended_one(
    stud, tmp_path, monkeypatch
):
    said, looks = tmp_path / "said", []
    monkeypatch.setattr(ending, "recall", lambda name: looks.append(name) or recall(name))

    def look_thrice() -> None:
        before = len(looks)
        wait_for(lambda: len(looks) > before + 3, "looks at the lease")

    with watching_lease(f'printf "%s\\n" "$MESSAGE" >> {said}', stud):
        look_thrice()
        assert not said.exists()
        remember(replace(stud, lease_until=time.time() + 590))
        wait_for(said.exists, "message")
        remember(replace(stud, lease_until=time.time() + 7200))
        look_thrice()
        remember(replace(stud, lease_until=time.time() + 300))
        wait_for(lambda: said.read_text().count("\n") == 2, "second message")
        look_thrice()
    first, second = said.read_text().splitlines()
    assert first.startswith("the lease of stud ends at ")
    assert first.endswith("Extend it: gpujob extend stud 2h")
    assert first != second


def test_a_url_gets_the_end_of_the_lease(stud, server):
    with watching_lease(
        f"http://127.0.0.1:{server.server_port}/", replace(stud, name="other", lease_until=time.time() + 60)
    ):
        wait_for(lambda: server.posted, "message")
    facts = json.loads(server.posted[0])
    assert (facts["cluster"], {*facts}) == ("other", {"text", "cluster", "lease_until"})
    assert 50 < epoch(facts["lease_until"]) - time.time() < 61


def test_without_notify_no_lease_is_watched(stud):
    with watching_lease(None, stud):
        assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_a_failure_is_a_warning(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    for how in (
        "desktop",
        "exit 3",
        f"http://127.0.0.1:{server.server_port}/broken",
        "http://[nonsense",
        "http://a:b c/",
    ):
        notify(how, "stud", JOB)
        assert "warning: --notify failed: " in capsys.readouterr().err


def test_the_bell_is_for_terminals_and_nothing_is_the_default(capsys):
    notify("bell", "stud", JOB)
    notify(None, "stud", JOB)
    assert capsys.readouterr().err == ""


def test_run_and_wait_notify_once_the_job_has_ended_and_keep_its_exit_code(project):
    said = project.project / "said"
    command = f'printf "%s\\n" "$MESSAGE" >> {said}'
    assert project.type("run", "--notify", command, "--", "sh", "-c", "exit 4").code == 4
    assert project.type("wait", "--notify", command).code == 4
    assert [line.partition(" after")[0].partition(" on ")[2] for line in said.read_text().splitlines()] == [
        "shared failed (exit 4)",
        "shared failed (exit 4)",
    ]
    assert project.type("run", "--notify", "exit 7", "--", "true").code == 0
