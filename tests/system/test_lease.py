"""The user data that `up` sends, on a real systemd: the lease is armed before all else, and ends the machine by itself."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.system.site import Site, rent


@pytest.fixture
def booted(tmp_path: Path) -> Iterator[Site]:
    """A machine that has just booted."""
    with rent(tmp_path) as site:
        yield site


def test_the_lease_is_armed_first_guarded_outlasts_a_move_and_ends_the_machine(booted):
    until = booted.machine.lease.until
    assert float(booted.ssh("sudo gpujob-lease")) == until
    armed = booted.ssh("systemctl show --property NextElapseUSecRealtime --value gpujob-lease.timer")
    assert datetime.strptime(f"{armed.strip()}+0000", "%a %Y-%m-%d %H:%M:%S UTC%z").timestamp() == until

    since = "systemctl show --property ActiveEnterTimestampMonotonic --value {} "
    timer, ssh = (int(booted.ssh(since.format(unit))) for unit in ("gpujob-lease.timer", "ssh.service"))
    assert 0 < timer < ssh
    wait_for(lambda: booted.try_ssh("systemctl is-active gpujob-guard").stdout.strip() == "active", "guard")

    soon = datetime.fromtimestamp(time.time() + 10, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    booted.ssh(f"sudo gpujob-lease '{soon}'")
    wait_for(lambda: booted.machine.off, "end of the machine", 90)
    assert "Powering off." in booted.machine.console
