"""Start, find and stop the local cloud."""

import fcntl
import hmac
import http.client
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from infra.base.installation import install_command
from infra.base.locks import lock_folder
from infra.errors import CloudError
from infra.local import record
from infra.local.record import LocalCloud
from infra.node.agent import trees

__all__ = ["LocalCloud", "find", "start", "stop"]

START_DEADLINE_S = 60.0
STOP_GRACE_S = 10.0
ANSWER_S = 5.0
POLL_S = 0.02


def start(folder: Path) -> LocalCloud:
    """Start a folder's local cloud, or find the running one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with lock_folder(folder):
        return find(folder) or _launch(folder)


def find(folder: Path) -> LocalCloud | None:
    """Find a folder's running local cloud; None if nothing responds with its key."""
    cloud = record.read(folder)
    return cloud if cloud and _answers(cloud) else None


def stop(folder: Path) -> bool:
    """Stop a folder's local cloud with all hosts and processes; return whether it was running."""
    if not folder.is_dir():
        return False
    with lock_folder(folder):
        cloud = find(folder) or _find_hung(folder)
        if cloud:
            _end(cloud.pid, folder)
        elif not _wait_until_gone(folder, STOP_GRACE_S):  # killed a moment ago, its hosts are still ending
            raise CloudError("the local cloud's hosts did not exit", _log_hint(folder))
        (folder / record.RECORD).unlink(missing_ok=True)
        trees.remove(folder / record.HOSTS)
        return cloud is not None


def _answers(cloud: LocalCloud) -> bool:
    # http.client, because urllib and requests would use a proxy from the environment.
    nonce = secrets.token_hex(16)
    address = urlsplit(cloud.url)
    try:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)
        try:
            connection.request("GET", f"/gpujob/ping?nonce={nonce}")
            answer = connection.getresponse()
            expected = record.proof(cloud.access_key, nonce)
            return answer.status == 200 and hmac.compare_digest(answer.read(200).decode("ascii"), expected)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _launch(folder: Path) -> LocalCloud:
    if not all(find_spec(name) for name in ("moto", "asyncssh", "psutil")):
        raise CloudError("the local cloud needs moto and asyncssh", install_command("local"))
    # Without the user's AWS settings: an invalid profile would even prevent the start.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (folder / record.LOG).open("ab") as log:
        process = spawn(folder, environment, log)
    try:
        return _wait_until_ready(folder, process)
    except BaseException:
        process.kill()
        process.wait()
        raise


def spawn(folder: Path, environment: Mapping[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the local cloud's process for a folder; its output goes to the log."""
    return subprocess.Popen(
        [sys.executable, *_arguments(folder)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> LocalCloud:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        cloud = record.read(folder)
        if cloud and cloud.pid == process.pid and _answers(cloud):
            # It outlives this process on purpose; if it ends first, this reaps it.
            threading.Thread(target=process.wait, daemon=True).start()
            return cloud
        if process.poll() is not None:
            raise CloudError(f"the local cloud exited during startup: {_last_line(folder)}", _log_hint(folder))
        time.sleep(POLL_S)
    raise CloudError(f"the local cloud did not respond within {START_DEADLINE_S:.0f} s", _log_hint(folder))


def _arguments(folder: Path) -> list[str]:
    return ["-P", "-m", "infra.local.cloud.server.service", str(folder.resolve())]


def _find_hung(folder: Path) -> LocalCloud | None:
    """Find a cloud that runs but does not respond, checking its command line: process ids are reused."""
    cloud = record.read(folder)
    if cloud is None or not find_spec("psutil"):
        return None
    import psutil

    with suppress(psutil.Error):
        return cloud if psutil.Process(cloud.pid).cmdline()[1:] == _arguments(folder) else None
    return None


def _end(pid: int, folder: Path) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, kind)
        if _wait_until_gone(folder, STOP_GRACE_S):
            _wait_for_exit(pid)
            return
    raise CloudError("the local cloud did not exit", _log_hint(folder))


def _wait_until_gone(folder: Path, timeout_s: float) -> bool:
    """Wait for the lock that the cloud and each of its hosts hold while they run."""
    deadline = time.monotonic() + timeout_s
    with (folder / record.LOG).open("ab") as log:
        while True:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
            time.sleep(POLL_S)


def _wait_for_exit(pid: int) -> None:
    # Wait briefly only, as a zombie without a reaping parent would never go away.
    deadline = time.monotonic() + 0.2
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(POLL_S / 4)


def _last_line(folder: Path) -> str:
    lines = (folder / record.LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _log_hint(folder: Path) -> str:
    return f"see {folder / record.LOG}"
