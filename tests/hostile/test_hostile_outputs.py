"""Whatever a job calls its files, and whatever an agent says of them: nothing outside their folder changes, and git runs nothing.

GPUJOB_TEST_EXAMPLES sets how many lists of outputs are made up.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import GpujobError
from infra.fetch import outputs as fetching
from infra.fetch.outputs import fetch
from infra.model import Cluster, Gpu, Node
from infra.node import client
from infra.results.receipts import read_receipt
from infra.ssh import carry
from infra.ssh.connection import Connection

CLUSTER = Cluster("c", "local", "r", (Node("i-1", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
RECORDS = {".gitignore", "receipt.json", "job.log", "files", "outside", ".parts"}
EXECUTED = {".envrc", ".vscode", ".idea", ".devcontainer", "conftest.py"}
EXAMPLES = int(os.environ.get("GPUJOB_TEST_EXAMPLES", "60"))


@dataclass
class Outputs:
    """What an agent lists and sends."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[tuple[str, bool], bytes] = field(default_factory=dict)
    state: str = "running"
    number: int = 1
    fetched: bool = False
    submitted_at: float = 1.0
    now: float = 4.0
    asked: list[str] = field(default_factory=list)

    def add(
        self,
        path: str,
        content: bytes = b"",
        link: str | None = None,
        mode: int = 0o644,
        lie: int = 0,
        outside: bool = False,
        same_as: str = "",
    ) -> None:
        sha256 = "" if link is not None else hashlib.sha256(content).hexdigest()
        size = 0 if link is not None else max(len(content) + lie, 0)
        entry = {"path": path, "size_bytes": size, "sha256": sha256, "mode": mode, "link": link}
        self.entries.append({**entry, "outside": outside, "same_as": same_as})
        self.contents[path, outside] = content

    def call(self, _: object, command: str, *words: str) -> Any:
        over = self.state == "succeeded"
        job = {"number": self.number, "name": "", "command": ["x"], "state": self.state, "reason": "", "gpus": []}
        job |= {
            "exit_code": 0 if over else None,
            "submitted_at": self.submitted_at,
            "started_at": 2.0,
            "stalled_at": None,
        }
        job |= {
            "ended_at": 3.0 if over else None,
            "seconds": 1.0,
            "log_bytes": 0,
            "fetched": self.fetched,
            "python": "",
        }
        job |= {"dependencies": "", "driver": "", "source": {}, "now": self.now}
        return {"job": job, "outputs": self.entries, "unreadable": []} if command == "outputs" else None


class Channel:
    """A channel to an agent that sends what it is asked for."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self.answer = b""

    def sendall(self, data: bytes) -> None:
        for path, offset, outside in json.loads(data):
            self.outputs.asked.append(path)
            content = self.outputs.contents[path, outside][offset:]
            self.answer += json.dumps({"path": path, "size_bytes": len(content)}).encode() + b"\n" + content

    def shutdown_write(self) -> None:
        """Nothing: all has been read."""


@pytest.fixture(scope="module")
def agent() -> Iterator[list[Outputs]]:
    """An agent that lists and sends what the test puts here."""
    said: list[Outputs] = []

    @contextlib.contextmanager
    def open_channel(*_: object) -> Iterator[Channel]:
        yield Channel(said[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "call", lambda *words: said[-1].call(*words))
        patch.setattr(client, "read_log", lambda *_, **__: iter(()))
        patch.setattr(carry, "open_channel", open_channel)
        patch.setattr(carry, "open_stdout", lambda channel: io.BufferedReader(io.BytesIO(channel.answer)))
        patch.setattr(carry, "exit_status", lambda _: 0)
        patch.setattr(fetching, "find_runs", lambda *_: None)
        yield said


def listing(folder: Path, below: Path) -> dict[str, Any]:
    """All that lies in a folder but for what lies below another."""
    found: dict[str, Any] = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) != below]
        for name in folders + files:
            path = Path(parent, name)
            info = path.lstat()
            content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path)] = (info.st_mode, info.st_ino, content)
    return found


def repository(canary: Path) -> dict[str, bytes]:
    """The files of a git repository that runs a command whenever git looks at it."""
    run = f"touch {canary}; echo"
    config = (
        f'[core]\nrepositoryformatversion = 0\nbare = false\nworktree = .\nfsmonitor = "{run}"\nhooksPath = hooks\n'
    )
    config += f'pager = "{run}"\n[filter "x"]\nclean = "{run}"\n[diff]\nexternal = "{run}"\n[alias]\nst = "!{run}"\n'
    files = {
        "HEAD": b"ref: refs/heads/main\n",
        "config": config.encode(),
        "objects/info/packs": b"",
        "refs/heads/x": b"",
    }
    files["hooks/post-index-change"] = f"#!/bin/sh\n{run}\n".encode()
    return files


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git with a neighbour, and a git that stops for no owner and no bare repository."""
    world = tmp_path_factory.mktemp("world")
    (world / "project/src").mkdir(parents=True)
    (world / "project/src/train.py").write_text("train")
    (world / "neighbour").mkdir()
    (world / "neighbour/mine").write_text("mine")
    git(world / "project", world, "init", "-q")
    return world


def git(folder: Path, world: Path, *words: str) -> None:
    """Run git as a prompt or an editor would."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(world), "GIT_OPTIONAL_LOCKS": "0"}
    trust = ["-c", "safe.directory=*", "-c", "safe.bareRepository=all"]
    subprocess.run(["git", *trust, "-C", str(folder), *words], env=environment, capture_output=True, check=False)


HOSTILE = [
    *(
        ".git",
        ".GIT",
        ".git ",
        ".git.",
        "git~1",
        ".git::$INDEX_ALLOCATION",
        ".g\u200cit",
        "a\\.git",
        ".hg",
        ".svn",
        ".jj",
    ),
    *("HEAD", "head", "Head", "objects", "refs", "config", "hooks", "commondir", "gitdir", "index"),
    *(".gitignore", ".gitattributes", ".gitmodules", ".envrc", ".vscode", ".Idea", "conftest.py"),
    *("receipt.json", "files", "job.log", ".parts", "..", ".", "", "/", "\0", "a", "A", "b", "a\\b", "a.from-node"),
    *("\u00e9", "e\u0301", "\x1b]0;x\x07", "\n", "\udcff", "x" * 255, "y" * 300, "-rf", "$(touch x)"),
]
NAMES = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PREFIXES = st.sampled_from(["", "a/", "b/c/", ".git/", "a/.git/", "a/.GIT/", "git~1/", "a/.git /", "x.git/", "HEAD/"])
TARGETS = PATHS | st.sampled_from(
    ["../../../../neighbour", "../receipt.json", "/etc", "..", ".", "a", "b", "refs/heads/main", "\0"]
)


@st.composite
def outputs(draw: st.DrawFn, canary: Path) -> Outputs:
    """What a hostile job may leave, or an agent say that it left."""
    made = Outputs(state=draw(st.sampled_from(["running", "succeeded"])))
    for prefix in draw(st.lists(PREFIXES, max_size=2)):
        for name, content in repository(canary).items():
            if draw(st.integers(0, 9)):
                made.add(prefix + name, content, mode=draw(st.sampled_from([0o644, 0o777, 0o4777, 0])))
        if draw(st.booleans()):
            made.add(f"{prefix}commondir", draw(st.sampled_from([b".", b"..", b"../a", b"../b/c"])))
        if draw(st.booleans()):
            made.add(f"{prefix}HEAD", link="refs/heads/main")
    for path in draw(st.lists(PATHS, max_size=6)):
        if draw(st.booleans()):
            made.add(path, link=draw(TARGETS), outside=draw(st.booleans()))
        else:
            made.add(
                path,
                draw(st.binary(max_size=8)),
                mode=draw(st.integers(0, 1 << 40)),
                lie=draw(st.sampled_from([0, 0, 0, -1, 5])),
                outside=draw(st.booleans()),
                same_as=draw(st.just("") | PATHS),
            )
    return made


def check(world: Path, canary: Path) -> None:
    """See that nothing of what came is outside, is a repository to git, or is executed by its name."""
    folder = world / "project/runs/c-1"
    assert {path.name for path in folder.iterdir()} <= RECORDS if folder.exists() else True
    for files in filter(Path.exists, (folder / "files", folder / "outside")):
        check_files(files, world)
    assert not canary.exists(), "git has executed something"


def check_files(files: Path, world: Path) -> None:
    """See the same of one of the folders that hold what came."""
    for parent, folders, names in os.walk(files):
        lowered = {name.lower() for name in (*folders, *names)}
        assert not {name for name in lowered if name.startswith(".git") and name.strip(". ")[:4] in ("git", "git:")}
        assert not lowered & EXECUTED
        assert "\x1b" not in "".join(lowered)
        for name in (*folders, *names):
            path = Path(parent, name)
            assert Path(os.path.realpath(path)).is_relative_to(files), path
            assert path.is_symlink() or path.lstat().st_mode & 0o7000 == 0
        if lowered & {"head", "config", "objects", "commondir", "head.from-node"} or parent == str(files):
            git(Path(parent), world, "status")


def verified(runs: Path) -> dict[str, str]:
    """What the receipt calls verified once the job was over, by its place."""
    receipt = read_receipt(runs / "c-1")
    if receipt is None or receipt["job"]["state"] != "succeeded":
        return {}
    aside = {(each["path"], each["sha256"]): each["saved_as"] for each in receipt["renamed"]}
    places = {aside.get((o["path"], o["sha256"]), o["path"]): o["sha256"] for o in receipt["outputs"]}
    return {place: sha256 for place, sha256 in places.items() if place not in receipt["interim"] and sha256}


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_whatever_a_job_leaves_nothing_outside_its_files_changes_and_git_executes_nothing(world, agent, data):
    runs, canary = world / "project/runs", world / "canary"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir()
    before = listing(world, runs)
    held: dict[str, str] = {}
    for _ in range(data.draw(st.integers(1, 3))):
        agent.append(data.draw(outputs(canary)))
        with contextlib.suppress(GpujobError):
            fetch(Connection(CLUSTER, 0, None), 1, runs, lambda _: None)
        assert listing(world, runs) == before
        check(world, canary)
        for place, sha256 in held.items():
            path = runs / "c-1/files" / place
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, "a verified file was replaced"
        held = verified(runs)
        agent.clear()


def test_the_repository_of_these_tests_does_execute_its_command_where_git_finds_it(world):
    canary, bare = world / "canary", world / "bare"
    for name, content in repository(canary).items():
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).write_bytes(content)
    git(bare, world, "status")
    assert canary.exists()
    canary.unlink()
    shutil.rmtree(bare)
