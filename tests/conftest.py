"""What the tests share: a home of their own, the real command in a process of its own, a cluster on the local cloud."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import leftovers, order, skips, timing
from tests.typist import TYPIST, Request, Typed

REPOSITORY = Path(__file__).parent.parent
MOST_PAUSE_S = 0.2  # between two looks at what may be a command
COMMAND = [sys.executable, str(REPOSITORY / "cli" / "__main__.py")]
CLOUD_FIXTURES = {"laptop", "needs", "victim", "rented", "project", "world", "folder", "shared", "machine"}
CLOUD_FOLDERS = {"e2e", "local", "projects"}
NODE_FIXTURES = {"node", "agent"}
NODE_FOLDERS = {"setup"}


# No example has a deadline: the computer may be busy. A fixture serves all examples of a test.
settings.register_profile(
    "tests",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add what keeps the tests honest: any order, nothing left behind, no skips, times."""
    for plugin in (order, leftovers, skips, timing):
        pluginmanager.register(plugin)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collect the tests without looking for garbage, then or later, in what they import."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a local cloud, or the agent or Ansible, so that `make fast` can leave them out."""
    for item in items:
        folder, fixtures = item.path.parent.name, {*getattr(item, "fixturenames", ())}
        if folder in CLOUD_FOLDERS or CLOUD_FIXTURES & fixtures:
            item.add_marker("cloud")
        if folder in NODE_FOLDERS or NODE_FIXTURES & fixtures:
            item.add_marker("node")


def pytest_sessionfinish() -> None:
    """End the process that has forked the commands."""
    TYPIST.close()


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, process: Typed, timeout_s: float = 120) -> "Finished":
        """Wait for the end of a command."""
        try:
            out, err = process.communicate(timeout_s)
        finally:
            process.kill()
        return cls(process.wait(), out.decode(errors="replace"), err.decode(errors="replace"))

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.out + self.err


@dataclass(frozen=True)
class Laptop:
    """A home folder and a project folder in which to type commands; AWS is out of reach."""

    home: Path
    project: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of each command."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true", **self.settings}

    def start(self, *words: str, cwd: Path | None = None) -> Typed:
        """Start a command and return its process, a fork of one that has loaded it."""
        return TYPIST.type(Request(words, str(cwd or self.project), self.environment))

    def prepare(self, *words: str) -> Typed:
        """Return the process of a command that begins when it gets SIGCONT."""
        return TYPIST.type(Request(words, str(self.project), self.environment, held=True))

    def start_alone(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command in a process that loads it, as a shell does."""
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def type(self, *words: str, cwd: Path | None = None, timeout_s: float = 120) -> Finished:
        """Run a command to its end."""
        return Finished.of(self.start(*words, cwd=cwd), timeout_s)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def give_back(self) -> None:
        """End the local cloud and all that runs in it."""
        state = Path(self.environment.get("XDG_STATE_HOME", self.home / ".local/state"))
        if (state / "gpujob/local").exists():
            self.type("local", "stop")


def make_laptop(folder: Path, **settings: str) -> Laptop:
    """Return a laptop with an empty home and an empty project, both below `folder`."""
    laptop = Laptop(folder / "home", folder / "project", settings)
    laptop.home.mkdir(parents=True)
    laptop.project.mkdir()
    return laptop


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    """A laptop of the test's own, with nothing rented."""
    machine = make_laptop(tmp_path)
    yield machine
    machine.give_back()


@pytest.fixture(scope="session")
def rented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with one cluster, "shared", up on the local cloud; tests may run jobs there but not end it."""
    machine = make_laptop(tmp_path_factory.mktemp("rented"), GPUJOB_CLUSTER="shared")
    try:
        up = machine.type("up", "shared", "--dry-run")
        assert up.code == 0, up.said
        yield machine
    finally:
        machine.give_back()


@pytest.fixture
def project(rented: Laptop, tmp_path: Path) -> Laptop:
    """The laptop with the shared cluster, in a project folder of the test's own."""
    return Laptop(rented.home, tmp_path, rented.settings)


def epoch(text: str) -> float:
    """Return a time that --json printed, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 90) -> None:
    """Wait until the condition is true; fail the test, saying what for, when it is not in time."""
    began = time.monotonic()
    end, pause_s = began + deadline_s, 0.02
    while not condition():
        now = time.monotonic()
        assert now < end, f"no {what} within {deadline_s} s"
        time.sleep(max(pause_s, 3 * (now - began)))  # at most a quarter of the time goes into looking
        began, pause_s = time.monotonic(), min(1.5 * pause_s, MOST_PAUSE_S)
