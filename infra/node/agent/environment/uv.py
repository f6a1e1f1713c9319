"""Running uv for a job, and building a folder once however many jobs ask for it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable

from .. import trees
from ..processes import unblock_signals
from ..records import HOME, AgentError

READY = "ready"
# What uv calls the variables of pip; where both are set, uv's own holds.
PIP_VARIABLES = {
    "PIP_INDEX_URL": "UV_INDEX_URL",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CONSTRAINT": "UV_CONSTRAINT",
    "PIP_CERT": "SSL_CERT_FILE",
}
# A base that cannot make a venv (Debian keeps ensurepip in a package of its own) may still have pip.
UV_RECIPES = (
    (["{base}", "-m", "venv", "{folder}"], ["{folder}/bin/python", "-m", "pip", "install", "--quiet", "uv"]),
    (["{base}", "-m", "pip", "install", "--quiet", "--target", "{folder}", "uv"],),
)


class DependenciesError(AgentError):
    """The dependencies of a job cannot be installed."""


def say(log: BinaryIO, text: str) -> None:
    """Write a line of ours into the job's log, at once."""
    log.write(f"gpujob: {text}\n".encode("utf-8", "surrogateescape"))
    log.flush()


def build_once(folder: Path, log: BinaryIO, build: Callable[[int], None]) -> bool:
    """Build a folder unless that has been done; tell whether this call did it. Who asks meanwhile waits, and says so.

    The marker `ready` is written last, so a build that was broken off is begun again, and one that failed leaves nothing;
    it says what was built.
    `build` gets the descriptor of the lock for the programs it runs: should this process be killed, the next builder waits
    until they too have ended.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(log, "waiting for another job that installs the same ...")
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
    """Tell whether a folder that was built is no longer what it was: a job can write there, by accident or not."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / READY).read_text() != fingerprint(folder)
    return False


def fingerprint(folder: Path) -> str:
    """Return what changes with any file of a folder: names, sizes, modes, times; to read them all would take too long."""
    lines = []
    for parent, folders, files in trees.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            info = os.lstat(os.path.join(parent, name))  # noqa: PTH118  there may be 50,000 of them
            lines.append(f"{parent[len(str(folder)) :]}/{name} {info.st_size} {info.st_mode} {info.st_mtime_ns}\n")
    # The marker lies at the top, and is written afterwards.
    text = "".join(sorted(line for line in lines if not line.startswith(f"/{READY} ")))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def stream(words: list[str], log: BinaryIO, lock: int, cwd: Path, given: bytes = b"") -> int:
    """Run a program whose output goes to the log line by line; return its exit code. It does not outlive this call."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=variables(),
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
        except BaseException:  # a cancel, or a full disk
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def variables() -> dict[str, str]:
    """Return the environment for uv and conda: the login's, what it says to pip said to uv, and no terminal to draw on."""
    said = {theirs: os.environ[ours] for ours, theirs in PIP_VARIABLES.items() if os.environ.get(ours)}
    if "UV_FIND_LINKS" in said:  # pip separates by spaces, uv by commas
        said["UV_FIND_LINKS"] = ",".join(said["UV_FIND_LINKS"].split())
    quiet = {
        "NO_COLOR": "1",
        "UV_SYSTEM_CERTS": "true",
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "copy",  # not hard links: to write into one environment would be to write into all
        "CONDA_ALWAYS_YES": "true",
        "MAMBA_ALWAYS_YES": "true",
    }
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return {**said, **quiet, **kept}


def find_uv(base_python: str, log: BinaryIO) -> list[str]:
    """Return the words that start uv: the node's own, the base interpreter's, the user's, or one installed here, once."""
    ours = HOME / "uv"
    found = [[shutil.which("uv") or ""], [base_python, "-m", "uv"], [str(Path.home() / ".local" / "bin" / "uv")]]
    for words in filter(works, found):
        return words
    build_once(ours, log, lambda lock: install_uv(ours, base_python, log, lock))
    return [str(ours / "bin" / "uv")]


def works(words: list[str]) -> bool:
    """Tell whether these words start uv: a name on PATH may lead nowhere."""
    try:
        return subprocess.run([*words, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install_uv(folder: Path, base_python: str, log: BinaryIO, lock: int) -> None:
    """Install uv into a folder of ours; raises DependenciesError if it cannot be had."""
    say(log, "installing uv, which this machine has not ...")
    for recipe in UV_RECIPES:
        trees.remove(folder)
        commands = [[word.format(base=base_python, folder=folder) for word in words] for words in recipe]
        if all(stream(words, log, lock, HOME) == 0 for words in commands) and works([str(folder / "bin" / "uv")]):
            return
    raise DependenciesError(
        "uv, which installs dependencies, is not on the machine and could not be installed, as the lines above say; "
        "install uv there, or run with --no-deps"
    )
