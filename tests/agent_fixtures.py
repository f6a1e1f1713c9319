"""A node for tests: a home folder with the agent in it, run by every Python that it must know, talked to over pipes."""

import base64
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from infra.node.agent.records import is_supervised, read_json
from infra.node.packing import pack_agent
from tests.compiled import keep_compiled
from tests.conftest import wait_for

WATCHED = """
import runpy, sys
def tell(event, about):
    if event == {event!r}:
        print(*about[:2], file=sys.stderr)
sys.addaudithook(tell)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def interpreters() -> Iterator[str]:
    """Yield our own interpreter, and Python 3.8 where it is installed."""
    yield sys.executable
    old = shutil.which("python3.8")
    if old and subprocess.run([old, "--version"], capture_output=True, check=False).returncode == 0:
        yield old


@dataclass(frozen=True)
class Node:
    """A home folder with the agent in it."""

    home: Path
    python: str

    @property
    def environment(self) -> dict[str, str]:
        """As on a machine of the local cloud: others write to the temporary folder at the same time."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "GPUJOB_LOCAL_HOST": "test"}

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self.python, "-I", "-S", pack_agent()[0], *words],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def watch(self, event: str, *words: str) -> list[str]:
        """Return what each audit event of this name is about, while the agent answers."""
        script = WATCHED.format(event=event)
        process = subprocess.run(
            [self.python, "-I", "-S", "-c", script, pack_agent()[0], *words],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return process.stderr.splitlines()

    def ask(self, *words: str, stdin: bytes = b"") -> bytes:
        process = self.start(*words)
        out, err = process.communicate(stdin, timeout=150)
        assert process.returncode == 0, err
        return out

    def submit(self, *command: str, token: str = "t", files: dict[str, bytes] | None = None, **options: object) -> int:
        answer = self.ask("submit", stdin=request(command, token, files or {}, **options))
        return json.loads(answer.splitlines()[-1])["job"]

    def record(self, number: int) -> dict:
        return json.loads(self.ask("jobs", str(number)))[0]

    def wait(self, number: int) -> dict:
        """Return a job's record once it has ended; its files are asked until then, as each question takes a process."""
        folder = self.home / f".gpujob/jobs/{number}"
        wait_for(
            lambda: "ended_at" in read_json(folder / "end.json", {}) or not is_supervised(folder), "end of the job"
        )
        record = self.record(number)
        assert record["state"] not in ("queued", "running", "stalled"), record
        return record

    def identity(self, number: int, who: str) -> int:
        """The process id of a job's supervisor, runner or main process, once it is on record."""
        path = self.home / f".gpujob/jobs/{number}" / ("state.json" if who == "supervisor" else "runner.json")

        def found() -> int:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return json.loads(path.read_text())[who][0]
            return 0

        wait_for(found, who)
        return found()

    def processes(self, word: str | None = None) -> list[int]:
        """Every living process that has this home, or of them those with a word in their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE
                if ours and (word is None or word in process.cmdline()):
                    found.append(process.pid)
        return found

    def power_off(self) -> None:
        """End all that runs here, such as what is left of a job whose supervisor a test has killed."""
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def kill(pid: int) -> None:
    """End a process as nothing can prevent, and wait until it has gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its end")


def request(
    command: tuple[str, ...],
    token: str,
    files: dict[str, bytes | str],
    sent: list[bytes] | None = None,
    gpus: int | None = 0,
    slots: int = 1,
    time_limit_s: float | None = None,
    **more: object,
) -> bytes:
    """What the client sends, to a node that has none of the files, or lacks those contents that are `sent`. Text is a link's."""
    contents = {path: content for path, content in sorted(files.items()) if isinstance(content, bytes)}
    links = {path: target for path, target in files.items() if isinstance(target, str)}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    entries = [[path, sha256, len(files[path]), 0o644, 0, None] for path, sha256 in hashes.items()]
    entries += [[path, "", 0, 0o777, 0, target] for path, target in links.items()]
    listed = sorted(entries)
    header = {
        "token": token,
        "command": command,
        "name": "",
        "env": {},
        "gpus": gpus,
        "slots": slots,
        "time_limit_s": time_limit_s,
        "no_deps": False,
        "python": None,
        "workdir": ".",
        "folders": ["empty"],
        "files": listed,
        "list": hashlib.sha256(json.dumps(listed).encode()).hexdigest(),
        "base": "",
        "removed": [],
        "after": 0,
        "source": {},
        "secrets": {},
        "credentials": {},
        "dependencies": None,
        "hang_after_s": 1800,
        "kill_stalled": False,
        "outputs": [],
        "exclude": [],
        "terminal": None,
        "data": [],
        "earlier": None,
        "part": None,
        "array": None,
        "key": "",
        **more,
    }
    line = base64.b64encode(zlib.compress(json.dumps(header).encode()))
    return line + b"\n" + in_blocks(b"".join(dict.fromkeys(contents.values()) if sent is None else sent))


def in_blocks(content: bytes) -> bytes:
    """Cut into small blocks, every other one deflated."""
    stream, size = io.BytesIO(), max(7, len(content) // 1000)
    for number, start in enumerate(range(0, len(content), size)):
        block = content[start : start + size]
        block = zlib.compress(block) if number % 2 else block
        stream.write(struct.pack(">BI", number % 2, len(block)) + block)
    return stream.getvalue()


def install(home: Path, python: str) -> None:
    """Put the agent into a home folder, as the client does."""
    path, content = pack_agent()
    keep_compiled(home, python)
    (home / path).write_bytes(content)


@pytest.fixture(params=interpreters())
def node(request, tmp_path) -> Iterator[Node]:
    install(tmp_path, request.param)
    node = Node(tmp_path, request.param)
    yield node
    node.power_off()
