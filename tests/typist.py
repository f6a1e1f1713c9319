"""A process that has loaded the command once, and forks for each command typed: a hundred in the time of ten.

Run as a program it reads what to type, a JSON line each, and answers with process ids and, as they end, with exit statuses.
Each child stops itself before its first word, so that it can be told what awaits it while its id is known.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
POLL_S = 0.01


@dataclass
class Typist:
    """The other end of that process."""

    environment: Mapping[str, str]
    folder: Path
    _process: "subprocess.Popen[str]" = field(init=False)
    _ended: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> "Typist":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.typist"],
            cwd=REPOSITORY,
            env=dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def prepare(self, *words: str) -> int:
        """Return the id of a process that waits to run a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"words": words, "folder": str(self.folder)}) + "\n")
        self._process.stdin.flush()
        while "started" not in (said := self._read()):
            self._ended[said["pid"]] = said["status"]
        return int(said["started"])

    def let_go(self, pid: int) -> None:
        """Let a prepared process run."""
        os.kill(pid, signal.SIGCONT)

    def wait(self, pid: int) -> tuple[int, str]:
        """Wait for a process; return its exit code, negative for a signal, and all that it printed."""
        while pid not in self._ended:
            said = self._read()
            self._ended[said["pid"]] = said["status"]
        return os.waitstatus_to_exitcode(self._ended.pop(pid)), (self.folder / f"said-{pid}").read_text()

    def type(self, *words: str) -> tuple[int, str]:
        """Run a command to its end."""
        pid = self.prepare(*words)
        self.let_go(pid)
        return self.wait(pid)

    def _read(self) -> dict[str, int]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the typist has ended"
        return dict(json.loads(line))


def main() -> None:
    """Fork for each line, and tell of each end; until standard input ends."""
    load()
    buffer = b""
    living: set[int] = set()
    while True:
        if select.select([0], [], [], POLL_S)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            living |= {start(**json.loads(line)) for line in lines}
        for pid in list(living):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                living.discard(pid)
                tell(pid=pid, status=status)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def load() -> None:
    """Import all that the commands import, so that their forks need not."""
    sys.path.insert(0, str(REPOSITORY))
    for name in ("cli.main", "infra.cluster.clusters", "infra.local.process", "infra.fetch.drain"):
        import_module(name)


def start(words: list[str], folder: str) -> int:
    """Fork a child that waits to be let go, then is the command; return its id once it waits."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        be(words, folder)
    os.waitpid(pid, os.WUNTRACED)
    tell(started=pid)
    return pid


def be(words: list[str], folder: str) -> None:
    """Be the command, and never return."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        said = os.open(f"said-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.kill(os.getpid(), signal.SIGSTOP)
        from cli.main import main as run

        sys.argv = ["gpujob", *words]
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tell(**facts: int) -> None:
    """Say something to the other end."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
