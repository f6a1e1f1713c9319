"""The systemd service in a machine's user data, restarted whenever it exits."""

import re
import subprocess
import time
from dataclasses import dataclass

from infra.local.machine import userdata
from infra.local.machine.shell import Shell

RESTART_S = 0.5
_GUARD = re.compile(r"ExecStart=/bin/sh -c '([^'\n]* guard [\d.]+ [\d.]+)'")


@dataclass
class Unit:
    """The service, and its process while it runs."""

    command: str
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0

    def keep(self, shell: Shell, port: int) -> None:
        """Start the service unless it is running; `port` is the SSH server's, to detect connected users."""
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            shell.pids.discard(self.process.pid)
        if not self.command or time.monotonic() - self.started_s < RESTART_S:
            return
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**shell.environment, "GPUJOB_SSH_PORT": str(port)},
            cwd=shell.home,
            start_new_session=True,
        )
        shell.pids.add(self.process.pid)


def read_unit(user_data: str) -> Unit:
    """Find the service in the user data; without a command it never starts."""
    # The unit is a JSON string inside cloud-config.
    found = _GUARD.search(userdata.decode(user_data).replace("\\n", "\n"))
    return Unit(f"test -e ~/.gpujob/agent.pyz && {found[1]}" if found else "")
