"""A machine of the local cloud: a process with an SSH server, a home folder, and a lease.

It reports to the cloud in JSON lines on standard output (`ready`, `off`, `reboot`), and exits when its
standard input closes, so that machines end with the cloud however that ends.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import asyncssh

from infra.local import reaper
from infra.local.machine import gpus, shims, sshd, units, userdata
from infra.local.machine.relay import Relay
from infra.local.machine.routes import Routes
from infra.local.machine.shell import Shell

TICK_S = 0.2
KEY = "ssh_host_ed25519_key"
LEASE = "lease"
SOURCES, ROUTES, STOPPING = "sources", "routes", "stopping"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass
class Power:
    """When the machine powers off, and whether it reboots."""

    lease_s: float | None
    """Epoch time of the lease's end."""
    due_s: float | None = None
    """Epoch time of a scheduled shutdown."""
    kind: str = "off"
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    report: str | None = None
    orderly: bool = True
    """Whether it shuts down; else it is as if the power was cut."""

    def obey(self, line: str, folder: Path) -> None:
        """Handle a line from one of the machine's own commands."""
        word, _, number = line.partition(" ")
        if word == "cancel":
            self.due_s = None
        elif word in ("off", "reboot"):
            self.kind, self.due_s = word, time.time() + float(number)
        elif word == "lease":
            self.lease_s = float(number)
            (folder / LEASE).write_text(number)

    def check(self) -> None:
        """Power off when it is time."""
        now = time.time()
        if self.lease_s is not None and now >= self.lease_s:
            self.end("off")
        elif self.due_s is not None and now >= self.due_s:
            self.end(self.kind)

    def end(self, report: str | None, *, orderly: bool = True) -> None:
        """End the machine; `report` is None when the cloud requested it."""
        self.orderly = self.orderly and orderly
        if not self.ended.is_set():
            self.report = report
            self.ended.set()


def main(config_file: Path) -> None:
    """Run the machine that a config file describes."""
    config = json.loads(config_file.read_text())
    folder = config_file.parent
    reaper.become_subreaper()
    reaper.give_up_privileges()
    mark = f"GPUJOB_LOCAL_HOST={config['instance_id']}"
    try:
        report = asyncio.run(_live(config, folder))
    finally:
        reaper.kill_everything(mark)
    if report:
        _say(event=report)


async def _live(config: dict[str, Any], folder: Path) -> str | None:
    loop = asyncio.get_running_loop()
    home, pipe = folder / "home", folder / "power"
    home.mkdir(exist_ok=True)
    os.chdir(home)  # relative SFTP paths start here
    (folder / STOPPING).unlink(missing_ok=True)
    shims.write(folder / "bin", pipe, frozenset(config.get("flaws", ())))
    variables = environment(config, folder)
    gpus.link_tool(folder / "bin", os.environ, variables["PATH"])
    shell = Shell(home, variables)
    _write_profile(home, shell.environment["PATH"])
    power = Power(_lease(config, folder))
    loop.add_signal_handler(signal.SIGTERM, power.end, None)
    loop.add_signal_handler(signal.SIGINT, partial(power.end, None, orderly=False))
    os.set_blocking(0, False)
    loop.add_reader(0, _watch_cloud, power)
    commands = _open_pipe(pipe)
    loop.add_reader(commands, _read_commands, commands, power, folder)
    power.check()
    services = [units.read_unit(config["user_data"]), units.read_sent(config["user_data"], folder)]
    server = None
    if not power.ended.is_set():
        key = _host_key(folder)
        server = await sshd.listen(shell, key, make_access(config, folder))
        port = await _listen_badly(server.port, config)
        _say(event="ready", port=port, host_key=key.export_public_key().decode().strip())
    while not power.ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(power.ended.wait(), TICK_S)
        reaper.reap_adopted(shell.pids)
        if server:
            for service in services:
                service.keep(shell, server.port)
        power.check()
    await _stop(services, power, shell, folder / STOPPING)
    return power.report


async def _stop(services: list[units.Unit], power: Power, shell: Shell, told: Path) -> None:
    """Stop the services, as systemd does when a machine shuts down."""
    told.touch()
    for service in services if power.orderly else ():
        service.stop()
    deadline = time.monotonic() + units.STOP_S
    while power.orderly and any(service.runs for service in services) and time.monotonic() < deadline:
        await asyncio.sleep(TICK_S / 4)
        reaper.reap_adopted(shell.pids)


def make_access(config: dict[str, Any], folder: Path) -> sshd.Access:
    """Return who may log in, and where this machine leads as a jump host."""
    sources = folder / SOURCES if config.get("public") else None
    routes = Routes(folder.parent / ROUTES, config.get("private_ip", ""), config.get("vpc", ""))
    return sshd.Access(config["authorized_key"], sources, routes, config.get("user", sshd.USER))


async def _listen_badly(port: int, config: dict[str, Any]) -> int:
    """Put a faulty relay in front of the SSH server if one is configured; return the port to use."""
    drop = config.get("drop_bytes")
    if not config.get("mute") and drop is None:
        return port
    return await Relay(port, bool(config.get("mute")), None if drop is None else int(drop)).listen()


def environment(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """Build a clean environment for commands, with nothing of the cloud's own but the way to its GPUs."""
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{SYSTEM_PATH}"
    return {
        "HOME": str(folder / "home"),
        "USER": config.get("user", sshd.USER),
        "LOGNAME": config.get("user", sshd.USER),
        "SHELL": "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
        "LANG": "C.UTF-8",
        "PATH": path,
        "GPUJOB_LOCAL_HOST": config["instance_id"],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": config.get("metadata_url", ""),
        **gpus.find_libraries(os.environ),
    }


def _write_profile(home: Path, path: str) -> None:
    # A login shell reads /etc/profile, which may reset PATH and so expose the real machine's shutdown.
    profile = home / ".profile"
    if not profile.exists():
        profile.write_text(f"PATH={quote(path)}\nexport PATH\n")


def _lease(config: dict[str, Any], folder: Path) -> float | None:
    moved = folder / LEASE
    told, end = folder / "told", userdata.lease_end_s(config["user_data"])
    if {"unarmed", "unarmable"} & {*config.get("flaws", ())}:
        return None
    if moved.exists() and told.exists() and told.read_text() == str(end):
        return float(moved.read_text())  # rebooted: an extended lease is kept
    told.write_text(str(end))
    if end is not None:
        moved.write_text(str(int(end)))  # read by gpujob-lease
    return end


def _host_key(folder: Path) -> asyncssh.SSHKey:
    path = folder / KEY
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    return asyncssh.read_private_key(path)


def _open_pipe(path: Path) -> int:
    if not path.exists():
        os.mkfifo(path, 0o600)
    # Opened for writing too: otherwise each writer that closes would look like end of file.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _read_commands(pipe: int, power: Power, folder: Path) -> None:
    for line in os.read(pipe, 4096).decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            power.obey(line, folder)
    power.check()


def _watch_cloud(power: Power) -> None:
    with contextlib.suppress(BlockingIOError):
        if not os.read(0, 1024):
            power.end(None, orderly=False)


def _say(**event: object) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
