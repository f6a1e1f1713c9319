"""Run TensorBoard on the files of jobs, for the duration of one call."""

from __future__ import annotations

import ctypes
import json
import os
import re
import selectors
import signal
import subprocess
import sys
from typing import BinaryIO

from ..environment.installing import Wanted, find_program
from ..machine import base_python
from ..records import WORK, AgentError, folder_of, work_of

# Versions for old interpreters import pkg_resources, which later versions of setuptools do not have.
TENSORBOARD = Wanted("tensorboard", ["tensorboard"], ["tensorboard", "setuptools<81"])
LISTENS = re.compile(rb"http://[^/]*:(\d+)/")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(number: str = "") -> None:
    """Run TensorBoard on a job's working folder, or all, until stdin ends; write its port.

    Raises AgentError if it is unavailable or exits by itself.
    """
    folder = work_of(folder_of(number)) if number else WORK
    WORK.mkdir(parents=True, mode=0o700, exist_ok=True)
    python = find_program(TENSORBOARD, [base_python()], sys.stdout.buffer).python
    words = [python, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(
        [*words, "--load_fast", "false", "--reload_interval", "3"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=end_with_parent,
    )
    try:
        said = watch(process.stderr)  # type: ignore[arg-type]
    finally:
        process.terminate()
    if said is not None:
        raise AgentError(f"TensorBoard exited: {said}")


def end_with_parent() -> None:
    """End this process when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def watch(errors: BinaryIO) -> str | None:
    """Write the port once known; return when stdin ends, or TensorBoard's last line if it exits first."""
    told, last = False, b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(errors, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = os.read(key.fd, 65536)
                if not data:
                    return None if key.fd == 0 else last.rpartition(b"\n")[2].decode("utf-8", "replace")
                if key.fd == 0:
                    continue
                last = (last + data)[-65536:].rstrip()
                found = None if told else LISTENS.search(last)
                if found:
                    told = True
                    sys.stdout.write(json.dumps({"port": int(found[1])}) + "\n")
                    sys.stdout.flush()
