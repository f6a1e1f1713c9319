"""Pages of the machine on this laptop: a real JupyterLab, a real TensorBoard, looked at as a browser would."""

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cloudwatch import node_home
from tests.conftest import Laptop, wait_for
from tests.e2e.test_jobs import job_number

pytestmark = pytest.mark.timeout(400)

CURVES = """
import os, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("curves")
for step in range(1, 4):
    value = Summary.Value(tag="loss", simple_value=1 / step)
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))
    writer.flush()
    while step == 2 and not os.path.exists("../go"): time.sleep(0.05)
writer.close()
"""
BROWSER = [
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=30000"),
]
needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")


@dataclass
class Shown:
    """A command that shows a page."""

    process: "subprocess.Popen[bytes]"
    base: str
    token: str

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    def ask(self, path: str, token: str | None = None, data: dict | None = None, method: str | None = None) -> bytes:
        """Fetch a page, with the right token unless another is given."""
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        body = None if data is None else json.dumps(data).encode()
        asked = urllib.request.Request(f"{self.base}{path}", data=body, headers=headers, method=method)
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.read()

    def leave(self) -> str:
        """Type Ctrl-C; return what is said then."""
        self.process.send_signal(signal.SIGINT)
        err = self.process.communicate(timeout=120)[1].decode()
        assert self.process.returncode == 0, err
        return err

    def evaluate(self, code: str) -> str:
        """Let a new kernel print the value of an expression, as a browser would."""
        import websocket

        kernel = json.loads(self.ask("/api/kernels", data={}, method="POST"))["id"]
        address = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        link = websocket.create_connection(address, timeout=120, header={"Authorization": f"token {self.token}"})
        with contextlib.closing(link):
            about = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "u"}
            content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
            head = {"version": "5.3", **about}
            link.send(
                json.dumps(
                    {"channel": "shell", "header": head, "parent_header": {}, "metadata": {}, "content": content}
                )
            )
            while (said := json.loads(link.recv()))["msg_type"] not in ("execute_result", "error"):
                continue
        return said["content"].get("data", said["content"]).get("text/plain") or str(said["content"])


@contextlib.contextmanager
def shown(laptop: Laptop, *words: str) -> Iterator[Shown]:
    """Start a command that shows a page and wait for its address."""
    process = laptop.start(*words, "--no-browser")
    try:
        line = process.stdout.readline().decode()
        found = re.search(r"(http://127\.0\.0\.1:\d+)/(?:lab\?token=(\S+))?", line)
        assert found, process.communicate(timeout=120)[1].decode()
        yield Shown(process, found[1], found[2] or "")
    finally:
        process.kill()
        process.communicate(timeout=120)


def processes(laptop: Laptop, word: str) -> list[psutil.Process]:
    """What runs on the machine and has a word in its command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(node_home(laptop)) and word in " ".join(process.cmdline()):
                found.append(process)
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_notebook_is_shared_outlives_who_looks_and_goes_on_where_it_was(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("lib.py", "answer = 41")
    laptop.write("both.py", "as sent")
    stray = node_home(laptop) / ".gpujob/notebook.token"
    stray.write_text("everybody-knows-this-one-everybody-knows")
    stray.chmod(0o644)
    with shown(laptop, "notebook") as first, shown(laptop, "notebook") as second:
        assert first.token == second.token
        assert first.port != second.port
        assert first.token != "everybody-knows-this-one-everybody-knows"
        assert stray.stat().st_mode & 0o777 == 0o600
        assert [job["name"] for job in json.loads(laptop.type("jobs", "--json").out)] == ["notebook"]
        for token in ("", "wrong"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                first.ask("/api/contents", token=token)
        assert first.evaluate("import lib; lib.answer + 1") == "42"
        assert first.evaluate("import sys; sys.prefix").endswith("/jobs/1/environment'"), "where %pip installs"
        for name in ("mine.py", "both.py"):
            first.ask(
                f"/api/contents/{name}", data={"type": "file", "format": "text", "content": "there"}, method="PUT"
            )
        assert job_number(laptop.type("run", "--", "true").err) == 2  # it does not wait for the notebook
        lab = processes(laptop, "jupyterlab")
        assert {c.laddr.ip for one in lab for c in one.net_connections() if c.status == "LISTEN"} == {"127.0.0.1"}
        assert not [p for p in psutil.process_iter(["cmdline"]) if first.token in " ".join(p.info["cmdline"] or [])]
        assert first.token not in laptop.type("logs", "1").out
        refused = laptop.type("down")
        assert (refused.code, "gpujob notebook project --stop" in refused.err) == (1, True)
        taken = laptop.type("notebook", "--no-browser", "--port", str(first.port))
        assert (taken.code, f"port {first.port} is in use" in taken.err) == (2, True)
        second.process.kill()
        assert "the notebook keeps running" in first.leave()
    assert (laptop.project / "runs/project-1/files/mine.py").read_text() == "there"
    wait_for(lambda: not listens(first.port) and not listens(second.port), "end of the forwards")
    laptop.write("both.py", "changed here")
    for process in processes(laptop, "jupyterlab"):
        process.kill()
    laptop.type("wait", "1")
    with shown(laptop, "notebook") as third:
        assert json.loads(third.ask("/api/contents/mine.py"))["content"] == "there"
        assert json.loads(third.ask("/api/contents/both.py"))["content"] == "changed here"
        assert json.loads(third.ask("/api/contents/both.notebook-1.py"))["content"] == "there"
        stopped = laptop.type("notebook", "--stop")
        assert "stopped the notebook (job 3)" in stopped.err
        err = third.process.communicate(timeout=120)[1].decode()  # it notices by itself
        assert third.process.returncode == 0, err
    wait_for(lambda: not processes(laptop, "jupyter"), "end of JupyterLab")
    assert "nothing to do" in laptop.type("notebook", "--stop").err
    refused = laptop.type("notebook", "--extra", "gpu")
    assert (refused.code, "--extra gpu: no dependencies found" in refused.err) == (2, True), refused.said
    assert laptop.type("down").code == 0


@needs_chromium
def test_the_browser_is_led_to_the_notebook_without_being_told_the_token(laptop, tmp_path):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("here.py", "")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/told\n')
    browser.chmod(0o755)
    looking = Laptop(laptop.home, laptop.project, {"BROWSER": f"{browser} %s"}).start("notebook")
    try:
        told = tmp_path / "told"
        wait_for(told.exists, "browser", 120)
        door = Path(told.read_text().removeprefix("file://"))
        assert door.stat().st_mode & 0o777 == 0o600
        words = [*BROWSER, f"--user-data-dir={tmp_path}/profile", told.read_text()]

        def is_shown() -> bool:  # the browser's own time runs out where the machine has much else to do
            page = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
            return "here.py" in page and "jp-LauncherCard" in page

        wait_for(is_shown, "page in the browser", 120)
    finally:
        looking.send_signal(signal.SIGINT)
        looking.communicate(timeout=120)
    assert not door.exists()


def test_curves_are_seen_while_a_job_runs_and_tensorboard_ends_with_who_looks(project):
    project.write("curves.py", CURVES)
    number = job_number(project.type("run", "--detach", "curves.py").err)

    def points(page: Shown, run: str) -> int:
        with contextlib.suppress(urllib.error.HTTPError):  # not read yet
            return len(json.loads(page.ask(f"/data/plugin/scalars/scalars?run={run}&tag=loss")))
        return 0

    with shown(project, "tensorboard", str(number)) as page, shown(project, "tensorboard") as everything:
        wait_for(lambda: points(page, "curves") == 2, "two points")
        wait_for(lambda: points(everything, f"{number}/project/curves") == 2, "two points among all jobs")
        (node_home(project) / f".gpujob/work/{number}/go").touch()
        wait_for(lambda: points(page, "curves") == 3, "third point")
        everything.process.kill()
        page.leave()
    assert not listens(page.port)
    wait_for(lambda: not processes(project, "tensorboard"), "end of TensorBoard")
    unknown = project.type("tensorboard", "999")
    assert (unknown.code, "no job 999" in unknown.err) == (1, True)
