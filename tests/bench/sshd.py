"""A real OpenSSH server on loopback, a child of ours, with keys, configuration and home in our folder."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import BenchError

PACKAGES = {"sshd": "openssh-server", "rsync": "rsync", "ssh": "openssh-client", "scp": "openssh-client"}
# With it the server believes in a user "ubuntu", who is us, and whose home is in our folder.
WRAPPER = "libnss-wrapper"
USER = "ubuntu"
RUN = Path("/run/sshd")
START_S = 10.0

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
PidFile none
SetEnv PATH={path}
Subsystem sftp internal-sftp
"""

CLIENT = """
Host bench
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ControlMaster no
  ControlPath none
"""


@dataclass(frozen=True)
class Server:
    """Where the server answers."""

    port: int
    host_key: str
    client: Path
    """The configuration for ssh, scp and rsync, in which it is called "bench"."""


def missing() -> list[str]:
    """Return the Debian packages that are still missing, after trying to install them where we are root."""
    wanted = lacking()
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        words = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *wanted]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (words, ["apt-get", "update", "--quiet"], words):
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            if not lacking():
                break
    return lacking()


def lacking() -> list[str]:
    """Return the Debian packages whose programs or libraries are not here."""
    programs = {package for program, package in PACKAGES.items() if not find(program)}
    libraries = [path for folder in ("/usr/lib", "/lib") for path in Path(folder).glob("*/libnss_wrapper.so")]
    return sorted(programs | (set() if libraries else {WRAPPER}))


def find(program: str) -> str | None:
    """Return where a program is; sshd is seldom on the PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


@contextmanager
def serve(folder: Path, key: Path) -> Iterator[Server]:
    """Run a server that lets this key in; ended by its process id."""
    (folder / "home").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    server = write_files(folder, key, port)
    made = os.geteuid() == 0 and not RUN.exists()
    if made:
        RUN.mkdir(mode=0o755)
    try:
        process = start(folder)
        try:
            wait_until_it_listens(process, port, folder / "log")
            yield server
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
    finally:
        if made:
            with suppress(OSError):
                RUN.rmdir()


def write_files(folder: Path, key: Path, port: int) -> Server:
    """Write the keys and the configuration of both ends."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True, timeout=30)
    public = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, stdout=subprocess.PIPE, timeout=30).stdout
    (folder / "authorized_keys").write_bytes(public)
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    # The same interpreter as on the local cloud's hosts, for both sides.
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder, path=path))
    (folder / "ssh_config").write_text(CLIENT.format(port=port, folder=folder, key=key, user=USER))
    us = f"{USER}:x:{os.getuid()}:{os.getgid()}::{folder}/home:/bin/bash\n"
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + us)
    return Server(port, host_key, folder / "ssh_config")


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start the server in a session of its own, so that a Ctrl-C is ours alone to answer."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": "/etc/group",
    }
    with (folder / "log").open("wb") as log:
        words = [find("sshd") or "sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
        return subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until the server takes connections; raises BenchError with its last words if it does not."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise BenchError(f"sshd does not start: {log.read_text(errors='replace').strip()[-500:]}")
