"""The systemd service in a machine's user data, restarted whenever it exits."""

import base64
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from infra.local.machine import userdata
from infra.local.machine.shell import Shell

RESTART_S, STOP_S = 0.5, 90.0
_BOOT_FILE, _SETTINGS_FILE = "/usr/local/lib/gpujob-boot.pyz", "/etc/gpujob-sent.json"
_GUARD = re.compile(r"ExecStart=/bin/sh -c '([^'\n]* guard [\d.]+ [\d.]+)'")


@dataclass
class Unit:
    """The service, and its process while it runs."""

    command: str
    journal: str = "/dev/null"
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Tell its first process to end, and no other: those of jobs stay, as with KillMode=process."""
        if self.process is not None and self.runs:
            self.process.terminate()

    def keep(self, shell: Shell, port: int) -> None:
        """Start the service unless it is running; `port` is the SSH server's, to detect connected users."""
        if self.runs:
            return
        if self.process is not None:
            shell.pids.discard(self.process.pid)
        if not self.command or time.monotonic() - self.started_s < RESTART_S:
            return
        self.started_s = time.monotonic()
        with open(self.journal, "ab") as journal:  # noqa: PTH123
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", self.command],
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                env={**shell.environment, "GPUJOB_SSH_PORT": str(port)},
                cwd=shell.home,
                start_new_session=True,
            )
        shell.pids.add(self.process.pid)


def read_sent(user_data: str, folder: Path) -> Unit:
    """Return a sent job's service, whose files are below `folder`; without one it never starts."""
    boot, settings = (userdata.read_file(user_data, path) for path in (_BOOT_FILE, _SETTINGS_FILE))
    if not boot or not settings:
        return Unit("")
    names = [folder / "boot.pyz", folder / "sent.json"]
    names[0].write_bytes(base64.b64decode(boot))
    names[1].write_text(settings)
    first = " ".join(["python3", "-I", "-S", *map(quote, map(str, names))])
    return Unit(f"{first} && exec python3 -I -S ~/.gpujob/agent.pyz away", str(folder / "journal"))


def read_unit(user_data: str) -> Unit:
    """Find the service in the user data; without a command it never starts."""
    # The unit is a JSON string inside cloud-config.
    found = _GUARD.search(userdata.decode(user_data).replace("\\n", "\n"))
    return Unit(f"test -e ~/.gpujob/agent.pyz && {found[1]}" if found else "")
