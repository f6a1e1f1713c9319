"""Run uv for a job, and build a shared folder only once however many jobs need it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Mapping, Protocol, Sequence
from urllib.parse import urlsplit

from .. import trees
from ..processes import unblock_signals
from ..records import HOME, AgentError

READY = "ready"
OLDEST = (0, 8)  # reads and writes pylock.toml
INDEXES = ("--index-url", "--extra-index-url", "-r ")
INDEX_VARIABLES = ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")
UV_SETTINGS = (Path.home() / ".config" / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))
# Indexes without private packages: only their owners, or on PyPI everyone, can publish there.
PUBLIC = {
    "pypi.org",
    "pypi.python.org",
    "download.pytorch.org",
    "pypi.nvidia.com",
    "data.pyg.org",
    "wheels.vllm.ai",
    "flashinfer.ai",
}
# uv's equivalents of pip's variables; uv's own wins where both are set.
PIP_VARIABLES = {
    "PIP_INDEX_URL": "UV_INDEX_URL",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CONSTRAINT": "UV_CONSTRAINT",
    "PIP_CERT": "SSL_CERT_FILE",
}
# A base that cannot create a venv (Debian packages ensurepip separately) may still have pip.
UV_RECIPES = (
    (["{base}", "-m", "venv", "{folder}"], ["{folder}/bin/python", "-m", "pip", "install", "--quiet", "uv"]),
    (["{base}", "-m", "pip", "install", "--quiet", "--target", "{folder}", "uv"],),
)


class DependenciesError(AgentError):
    """A job's dependencies cannot be installed."""


class Log(Protocol):
    """A consumer of a program's output, line by line."""

    def write(self, line: bytes) -> int:
        """Process one line."""

    def flush(self) -> None:
        """Flush the log."""


def say(log: BinaryIO, text: str) -> None:
    """Append a line to the job's log immediately."""
    log.write(f"gpujob: {text}\n".encode("utf-8", "surrogateescape"))
    log.flush()


def build_once(folder: Path, log: BinaryIO, build: Callable[[int], None]) -> bool:
    """Build a folder unless it is already built; return whether this call built it.

    Concurrent callers wait, and say so in their logs.

    The marker `ready`, a fingerprint of the result, is written last: an interrupted build starts over, and a failed one
    leaves nothing. `build` gets the lock's descriptor for the programs it runs: if this process is killed, the next
    builder waits until they have ended too.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(log, "waiting for another job to install the same packages ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / READY).exists():
            return False
        if folder.exists():
            trees.remove(folder)
        try:
            build(lock.fileno())
            (folder / READY).write_text(fingerprint(folder))
        except BaseException:
            trees.remove(folder)
            raise
    return True


def is_spoiled(folder: Path) -> bool:
    """Return whether a built folder was modified since; jobs can write there."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / READY).read_text() != fingerprint(folder)
    return False


def fingerprint(folder: Path) -> str:
    """Fingerprint a folder by names, sizes, modes and times; hashing contents would take too long."""
    lines = []
    for parent, folders, files in trees.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            info = os.lstat(os.path.join(parent, name))  # noqa: PTH118  called for up to 50,000 files
            lines.append(f"{parent[len(str(folder)) :]}/{name} {info.st_size} {info.st_mode} {info.st_mtime_ns}\n")
    # The marker is at the top level, and written afterwards.
    text = "".join(sorted(line for line in lines if not line.startswith(f"/{READY} ")))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def stream(
    words: list[str], log: Log, lock: int, cwd: Path, given: bytes = b"", more: Mapping[str, str] | None = None
) -> int:
    """Run a program with its output going to the log; return its exit code. It ends with this call.

    `more` are variables for it besides the login's.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=variables(more or {}),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            start_new_session=True,
            preexec_fn=unblock_signals,
        )
    with process:
        try:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
            return process.wait()
        except BaseException:  # a cancel or a full disk
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def variables(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv and conda: the login's and `more`, with pip's settings for uv."""
    login = {**os.environ, **more}
    said = {theirs: login[ours] for ours, theirs in PIP_VARIABLES.items() if login.get(ours)}
    if "UV_FIND_LINKS" in said:  # pip separates with spaces, uv with commas
        said["UV_FIND_LINKS"] = ",".join(said["UV_FIND_LINKS"].split())
    quiet = {
        "NO_COLOR": "1",
        "UV_SYSTEM_CERTS": "true",
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "copy",  # not hard links: writing to one environment would write to all
        "CONDA_ALWAYS_YES": "true",
        "MAMBA_ALWAYS_YES": "true",
    }
    kept = {name: value for name, value in login.items() if name != "VIRTUAL_ENV"}
    return {**said, **quiet, **kept}


def choose_index_strategy(lines: Sequence[str], more: Mapping[str, str]) -> list[str]:
    """Return the option that looks for a version on all indexes, if all are known to be public.

    uv takes a package from the first index that has its name: with a private index, a stranger could publish that name on a
    public one. https://docs.astral.sh/uv/concepts/indexes/#searching-across-multiple-indexes
    """
    said = variables(more)
    named = [line.split(None, 1)[1].strip() for line in lines if line.startswith(INDEXES) and " " in line]
    named += [word for name in INDEX_VARIABLES for word in said.get(name, "").split()]
    hosts = {urlsplit(url.rpartition("=")[2] if "=http" in url else url).hostname for url in named}
    settled = said.get("UV_INDEX_STRATEGY") or any(path.exists() for path in UV_SETTINGS)
    return [] if settled or not named or not hosts <= PUBLIC else ["--index-strategy", "unsafe-first-match"]


def find_uv(base_python: str, log: BinaryIO) -> list[str]:
    """Return the command that runs uv: from PATH, the base interpreter, the user, or our own."""
    ours = HOME / "uv"
    found = [[shutil.which("uv") or ""], [base_python, "-m", "uv"], [str(Path.home() / ".local" / "bin" / "uv")]]
    for words in filter(works, found):
        return words
    build_once(ours, log, lambda lock: install_uv(ours, base_python, log, lock))
    return [str(ours / "bin" / "uv")]


def works(words: list[str]) -> bool:
    """Return whether this command starts a uv that is new enough: a name on PATH may be a dangling link."""
    try:
        answer = subprocess.run([*words, "--version"], capture_output=True, check=False)
    except OSError:
        return False
    version = re.match(rb"uv (\d+)\.(\d+)", answer.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST


def install_uv(folder: Path, base_python: str, log: BinaryIO, lock: int) -> None:
    """Install uv below ~/.gpujob; raises DependenciesError on failure."""
    say(log, "installing uv, which is not on this machine ...")
    for recipe in UV_RECIPES:
        trees.remove(folder)
        commands = [[word.format(base=base_python, folder=folder) for word in words] for words in recipe]
        if all(stream(words, log, lock, HOME) == 0 for words in commands) and works([str(folder / "bin" / "uv")]):
            return
    raise DependenciesError(
        "uv is needed to install dependencies, and could not be installed (see the lines above); "
        "install uv on the machine, or run with --no-deps"
    )
