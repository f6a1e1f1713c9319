"""The way to packages for a machine that has no other: a cache of Debian's, which also passes on what goes to PyPI."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import wait_for
from tests.system.tree import CACHE

PORT = 13142  # not that of the one which Debian may have started by itself
SETTINGS = """\
CacheDir: {cache}
LogDir: {folder}
PidFile: {folder}/pid
SocketPath: {folder}/socket
BindAddress: {address}
Port: {port}
SupportDir: /usr/lib/apt-cacher-ng
PassThroughPattern: .*
ForeGround: 1
UnbufferLogs: 1
ExStartTradeOff: 0
"""


@contextmanager
def serve(folder: Path, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Serve packages at an address of this machine until the end."""
    folder.mkdir(exist_ok=True)
    (CACHE / "packages").mkdir(parents=True, exist_ok=True)
    settings = SETTINGS.format(cache=CACHE / "packages", folder=folder, address=address, port=PORT)
    proxy = subprocess.run(["apt-config", "shell", "P", "Acquire::http::Proxy"], capture_output=True, text=True)
    if "://" in proxy.stdout:  # P='http://...': how this machine itself reaches the mirror
        settings += f"Proxy: {proxy.stdout.strip().removeprefix('P=').strip(chr(39))}\n"
    (folder / "acng.conf").write_text(settings)
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(["apt-cacher-ng", "-c", str(folder)], stdout=said, stderr=said)
    try:
        wait_for(lambda: answers(address), "answer of the mirror")
        yield process
    finally:
        process.terminate()
        process.wait()


def answers(address: str, port: int = PORT) -> bool:
    """Tell whether a port there takes connections."""
    import socket

    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
