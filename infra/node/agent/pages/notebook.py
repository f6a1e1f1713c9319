"""The notebook: JupyterLab run as a job, so that its folder, its log, its end and its way home are those of every job.

It stands outside the line: it takes no GPU for itself, sees all of them, and waits for nobody. It listens on the node's loopback
alone, on a free port, and asks for a token that is kept in a file which only the user may read: JupyterLab is told the file's
name, so that the token is in no process's arguments or environment and in no log. A node has one notebook at a time.
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
# A project's own interpreter need not have what a kernel is made of: then it is lent the installed one's.
KERNEL = "import sys; sys.path.append({site!r}); from ipykernel.kernelapp import launch_new_instance as go; go()"


def serve() -> NoReturn:
    """Become JupyterLab on the project of the job that this process is; raises AgentError if it cannot be had."""
    folder, python = folder_of(os.environ["GPUJOB_JOB"]), os.environ["GPUJOB_PYTHON"]
    work, runtime = work_of(folder), folder / "jupyter"
    runtime.mkdir(mode=0o700, exist_ok=True)
    # Not by the job's own environment, which has neither: what `%pip` puts there is for kernels.
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
    """Let notebooks run with the job's interpreter, whichever runs JupyterLab itself."""
    kernel = runtime / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    start = ["-c", KERNEL.format(site=found.site)] if found.site else ["-m", "ipykernel_launcher"]
    argv = [python, *start, "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))


def keep_token() -> None:
    """See that there is a token: made anew where the file is not the user's own, is open to others, or holds no token."""
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
    """Return the job that is the notebook now (0: none is), its port once it listens, its token, and what it printed last."""
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
    """Return the job that is the notebook now, or None."""
    return next((number for number in notebooks() if is_supervised(folder_of(number))), None)


def notebooks() -> list[int]:
    """Return the jobs that are or were notebooks, the latest first."""
    return [n for n in reversed(numbers()) if read_json(folder_of(n) / "job.json", {}).get("command") == NOTEBOOK]


def carry_over(staging: Path, project: Path, source: dict[str, Any]) -> None:
    """Lay what the last notebook of the same project wrote into the folder of the next, so that it goes on there.

    A file that was changed in the project meanwhile stays as it is there; the notebook's goes beside it.
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
