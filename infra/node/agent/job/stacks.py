"""Write the stack traces of a stalled job's Python processes into its log, using py-spy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

from ..environment.uv import build_once, find_uv, say, stream
from ..records import HOME, AgentError
from .mask import Mask

PY_SPY = HOME / "py-spy"
MOST_PROCESSES = 64
PATIENCE_S = 60


def write_stacks(pids: list[int], job: dict[str, Any], path: Path, secrets: list[str] | None) -> bool:
    """Write the stacks of these processes into a job's log, masked; return whether any were read.

    If the secrets are no longer known (None), thread names, which may contain one, are left out.
    """
    with contextlib.suppress(OSError), path.open("ab") as log:
        say(log, f"stalled: no output and no CPU or GPU activity for {job['hang_after_s']:g} s; stack traces:")
        spy = find_py_spy(job["python"], log)
        return sum([dump(spy, pid, log, secrets) for pid in sorted(pids)[:MOST_PROCESSES]]) > 0
    return False


def find_py_spy(base_python: str, log: BinaryIO) -> str | None:
    """Find py-spy: on PATH, with the base interpreter, or in our own installation."""
    for found in (shutil.which("py-spy"), str(Path(base_python).parent / "py-spy")):
        if found and os.access(found, os.X_OK):
            return found
    try:
        build_once(PY_SPY, log, lambda lock: install(base_python, log, lock))
    except (AgentError, OSError) as error:
        say(log, f"py-spy is not available, so no Python stacks: {error}")
        return None
    return str(PY_SPY / "bin" / "py-spy")


def install(base_python: str, log: BinaryIO, lock: int) -> None:
    """Install py-spy below ~/.gpujob; raises AgentError on failure."""
    command = [*find_uv(base_python, log), "pip", "install", "--quiet", "--python", base_python]
    if stream([*command, "--target", str(PY_SPY), "py-spy"], log, lock, HOME):
        raise AgentError("uv could not install it; see the lines above")


def dump(spy: str | None, pid: int, log: BinaryIO, secrets: list[str] | None) -> bool:
    """Write the stack of one process; return whether its Python stack could be read."""
    try:
        program = Path(os.readlink(f"/proc/{pid}/exe")).name
        waits_in = Path(f"/proc/{pid}/wchan").read_text() or "0"
    except OSError:
        return False
    say(log, f"process {pid}, {program}" + (f", waits in the kernel's {waits_in}" if waits_in != "0" else ""))
    if not spy or not program.startswith("python"):
        return False
    # Where only ancestors may trace (yama's ptrace_scope, Ubuntu's default), root still may.
    for words in ([spy], ["sudo", "-n", spy]):
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
            # JSON, to leave out the command line: it may contain a secret.
            answer = subprocess.run(
                [*words, "dump", "--json", "--pid", str(pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE_S,
                check=True,
            )
            text = "".join(describe(thread, secrets is not None) for thread in json.loads(answer.stdout))
            mask = Mask(secrets or [])
            log.write(mask.feed(text.encode("utf-8", "replace")) + mask.flush())
            return True
    return False


def describe(thread: dict[str, Any], named: bool) -> str:
    """Format one thread's stack, innermost call first."""
    name = f': "{thread["thread_name"]}"' if named and thread["thread_name"] else ""
    frames = (
        f"    {each['name']} ({each['short_filename'] or each['filename']}:{each['line']})" for each in thread["frames"]
    )
    state = "active" if thread["active"] else "idle"
    return "\n".join([f"thread {thread['os_thread_id'] or thread['thread_id']} ({state}){name}", *frames, ""])
