"""User data as a machine runs it: each command of bootcmd by a real shell, in a folder instead of /, systemctl a stand-in."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from infra.ec2.machines.userdata import format_until, make_user_data
from infra.model import Lease

STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >> {0}/told\n'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's file system after its first boot with a lease until 2030, as far as user data changes it."""
    for folder in ("bin", "etc/systemd/system", "usr/local/sbin"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("systemctl", "sysctl"):
        (tmp_path / "bin" / name).write_text(STAND_IN.format(tmp_path))
        (tmp_path / "bin" / name).chmod(0o755)
    document = yaml.safe_load(make_user_data(Lease(1893456000.0, 6.0, idle_stop_s=1800, warning_s=120)))
    assert set(document) == {"bootcmd"}
    for command in document["bootcmd"]:
        words = [place(word, tmp_path) for word in command]
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        subprocess.run(words, env=environment, check=True, timeout=120)
    return tmp_path


def place(word: str, root: Path) -> str:
    """Let a path lead below a folder."""
    return word.replace("/etc/systemd", f"{root}/etc/systemd").replace("/usr/local/sbin", f"{root}/usr/local/sbin")


def told(machine: Path) -> list[str]:
    return (machine / "told").read_text().splitlines()


def test_the_lease_is_armed_and_then_the_guard(machine):
    assert told(machine)[:6] == [
        "systemctl daemon-reload",
        "systemctl enable gpujob-lease.timer",
        "systemctl restart --no-block gpujob-lease.timer",
        "systemctl daemon-reload",
        "systemctl enable gpujob-guard.service",
        "systemctl start --no-block gpujob-guard.service",
    ]


def test_every_unit_that_is_switched_on_is_there(machine):
    units = {path.name for path in (machine / "etc/systemd/system").iterdir()}
    started = {line.split()[-1] for line in told(machine) if line.split()[1] in ("enable", "start", "restart")}
    assert started == {"gpujob-lease.timer", "gpujob-guard.service"}
    assert started <= units


def test_the_timer_starts_a_service_that_powers_off_at_the_end_of_the_lease(machine):
    timer = (machine / "etc/systemd/system/gpujob-lease.timer").read_text()
    assert "OnCalendar=2030-01-01 00:00:00 UTC\n" in timer
    unit = next(line.removeprefix("Unit=") for line in timer.splitlines() if line.startswith("Unit="))
    service = (machine / "etc/systemd/system" / unit).read_text()
    assert "ExecStart=/usr/bin/systemctl poweroff" in service


def test_the_guard_runs_with_the_limits_of_the_lease_and_comes_back(machine):
    guard = (machine / "etc/systemd/system/gpujob-guard.service").read_text()
    assert "guard 1800 120'\n" in guard
    assert "Restart=always\n" in guard


def test_the_command_that_moves_the_lease_can_be_run(machine):
    command = machine / "usr/local/sbin/gpujob-lease"
    assert os.access(command, os.X_OK)
    assert command.stat().st_mode & 0o777 == 0o755


def test_a_laptop_that_is_shut_is_no_login_for_hours(machine):
    [line] = [line for line in told(machine) if line.startswith("sysctl -qw ")]
    values = dict(pair.split("=") for pair in line.split()[2:])
    seconds = int(values["net.ipv4.tcp_keepalive_time"])
    seconds += int(values["net.ipv4.tcp_keepalive_intvl"]) * int(values["net.ipv4.tcp_keepalive_probes"])
    assert seconds <= 180


def test_the_end_is_told_in_utc_wherever_the_laptop_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert format_until(1893456000.0) == "2030-01-01 00:00:00 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()
