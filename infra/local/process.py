"""The local cloud as seen from the command line: start it, find it, stop it."""

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
    """Start the local cloud of a folder, or find the one that runs already."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with lock_folder(folder):
        return find(folder) or _launch(folder)


def find(folder: Path) -> LocalCloud | None:
    """Find the running local cloud of a folder; None when nothing there answers with its key."""
    cloud = record.read(folder)
    return cloud if cloud and _answers(cloud) else None


def stop(folder: Path) -> bool:
    """End the local cloud of a folder with every host and process in it; True when one was running."""
    if not folder.is_dir():
        return False
    with lock_folder(folder):
        cloud = find(folder) or _find_hung(folder)
        if cloud:
            _end(cloud.pid, folder)
        elif not _wait_until_gone(folder, STOP_GRACE_S):  # killed a moment ago, its hosts are still ending
            raise CloudError("the local cloud's hosts do not end", _log_hint(folder))
        (folder / record.RECORD).unlink(missing_ok=True)
        trees.remove(folder / record.HOSTS)
        return cloud is not None


def _answers(cloud: LocalCloud) -> bool:
    # http.client, because urllib and requests would ask a proxy from the environment.
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
    # The person's own AWS settings are no business of the cloud's; a broken profile would even keep it from starting.
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
    """Start the process of the local cloud of a folder; its output goes to the log."""
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
            # It outlives this process on purpose; should it end before, nobody is left a zombie.
            threading.Thread(target=process.wait, daemon=True).start()
            return cloud
        if process.poll() is not None:
            raise CloudError(f"the local cloud ended at once: {_last_line(folder)}", _log_hint(folder))
        time.sleep(POLL_S)
    raise CloudError(f"the local cloud did not answer within {START_DEADLINE_S:.0f} s", _log_hint(folder))


def _arguments(folder: Path) -> list[str]:
    return ["-P", "-m", "infra.local.cloud.server.service", str(folder.resolve())]


def _find_hung(folder: Path) -> LocalCloud | None:
    """Find a cloud that lives but does not answer; its process id may have gone to another, so ask for its words."""
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
    raise CloudError("the local cloud does not end", _log_hint(folder))


def _wait_until_gone(folder: Path, timeout_s: float) -> bool:
    """Wait for the lock that the cloud and each of its hosts hold for as long as they live."""
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
    # Only the last instant is left to it, and a zombie that nobody reaps is no reason to wait for ever.
    deadline = time.monotonic() + 0.2
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(POLL_S / 4)


def _last_line(folder: Path) -> str:
    lines = (folder / record.LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _log_hint(folder: Path) -> str:
    return f"read {folder / record.LOG}"
