"""Run JupyterLab as a job, so that its folder, log, end and downloads work like any job's.

It bypasses the queue: it reserves no GPU and sees all of them. It listens on a free port of the loopback interface only, and
requires a token from a file that only the user can read: JupyterLab gets the file's name, so the token is in no process's
arguments or environment and in no log. A node has one notebook at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..environment.installing import Program, Wanted, find_program
from ..node.look import last_line
from ..outputs.asked import Found
from ..outputs.changes import Look
from ..records import HOME, NOTEBOOK, folder_of, is_supervised, numbers, read_json, record_of, work_of

TOKEN = HOME / "notebook.token"
JUPYTERLAB = Wanted("notebook", ["jupyterlab", "ipykernel"], ["jupyterlab", "ipywidgets"])
CHECKPOINTS = ".ipynb_checkpoints"
# A project's interpreter without ipykernel borrows the packages of the installed one.
KERNEL = "import sys; sys.path.append({site!r}); from ipykernel.kernelapp import launch_new_instance as go; go()"


def serve() -> NoReturn:
    """Replace this process with JupyterLab on its job's project; raises AgentError if unavailable."""
    folder, python = folder_of(os.environ["GPUJOB_JOB"]), os.environ["GPUJOB_PYTHON"]
    work, runtime = work_of(folder), folder / "jupyter"
    runtime.mkdir(mode=0o700, exist_ok=True)
    # Not with the job's own environment, which has neither: `%pip` installs packages for kernels there.
    below = [record_of(folder.name)["python"], read_json(folder / "job.json")["python"]]
    found = find_program(JUPYTERLAB, list(dict.fromkeys(below)), sys.stdout.buffer)
    write_kernel(runtime, python, found)
    keep_token()
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment.update(JUPYTER_RUNTIME_DIR=str(runtime), JUPYTER_PATH=str(runtime), JUPYTER_TOKEN_FILE=str(TOKEN))
    words = [
        *(found.python, "-m", "jupyterlab", "--no-browser", f"--ServerApp.root_dir={work}"),
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=8888", "--ServerApp.port_retries=100"),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    sys.stdout.flush()
    os.execve(words[0], words, environment)  # noqa: S606


def write_kernel(runtime: Path, python: str, found: Program) -> None:
    """Make kernels run with the job's interpreter, whichever runs JupyterLab itself."""
    kernel = runtime / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    start = ["-c", KERNEL.format(site=found.site)] if found.site else ["-m", "ipykernel_launcher"]
    argv = [python, *start, "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))


def keep_token() -> None:
    """Ensure that there is a token; replace one that is not the user's, not private, or invalid."""
    with contextlib.suppress(OSError):
        descriptor = os.open(TOKEN, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            text = file.read(100) if stat.S_ISREG(info.st_mode) else b""
        private = info.st_uid == os.geteuid() and not stat.S_IMODE(info.st_mode) & 0o077
        if private and re.fullmatch(rb"[\w-]{32,99}", text):
            return
    temporary = TOKEN.with_name(f"{TOKEN.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    if TOKEN.is_dir() and not TOKEN.is_symlink():
        shutil.rmtree(TOKEN)
    temporary.replace(TOKEN)


def find_page() -> dict[str, Any]:
    """Return the current notebook's job (0: none), port once it listens, token, and last line."""
    number = find_notebook()
    if number is None:
        return {"job": 0, "port": 0, "token": "", "said": ""}
    folder, info = folder_of(number), {}
    for path in (folder / "jupyter").glob("jpserver-*.json"):
        with contextlib.suppress(OSError, ValueError):  # it is being written
            info = json.loads(path.read_text(encoding="utf-8"))
    port, token = info.get("port", 0), info.get("token", "")
    return {"job": number, "port": port, "token": token, "said": last_line(folder / "log")}


def find_notebook() -> int | None:
    """Return the job that is the current notebook, or None."""
    return next((number for number in notebooks() if is_supervised(folder_of(number))), None)


def notebooks() -> list[int]:
    """Return the jobs that are or were notebooks, latest first."""
    return [n for n in reversed(numbers()) if read_json(folder_of(n) / "job.json", {}).get("command") == NOTEBOOK]


def carry_over(staging: Path, project: Path, source: dict[str, Any]) -> None:
    """Copy the files of the project's last notebook into the next one's folder.

    A file that has changed in the project since is kept; the notebook's version is saved next to it.
    """
    for number in notebooks():
        folder = folder_of(number)
        if read_json(folder / "job.json")["source"].get("project") == source.get("project"):
            break
    else:
        return
    before, now = read_json(folder / "manifest.json"), read_json(staging / "manifest.json")
    look = Look(folder, settled=False)
    look.look_below(Found(work_of(folder), "", work_of(folder)), before, lambda *_: False)
    for (_, name), entry in look.entries.items():
        path, sent = work_of(folder) / name, now.get(name, {}).get("sha256")
        if entry["link"] or entry["sha256"] == sent or CHECKPOINTS in path.parts:
            continue
        target = project / name
        if sent != before.get(name, {}).get("sha256"):
            target = target.with_name(f"{path.stem}.notebook-{number}{path.suffix}")
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
