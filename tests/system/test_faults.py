"""What goes wrong while a machine is set up: it waits, or says what happened, and the same words typed again complete."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Finished, wait_for
from tests.system.mirror import serve
from tests.system.site import Site, rent

SMALL = ("--set", 'base_packages=["logrotate"]')
HOLD = """
systemd-run --quiet --unit=holder python3 -c "
import fcntl, time
file = open('/var/lib/dpkg/lock-frontend', 'a')
fcntl.lockf(file, fcntl.LOCK_EX)
open('/run/held', 'w')
time.sleep({seconds})
"
while ! test -e /run/held; do sleep 0.1; done
rm /run/held
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A machine that nothing was done to, without a way to packages."""
    with rent(tmp_path_factory.mktemp("bare")) as site:
        yield site


@pytest.fixture
def site(bare: Site, tmp_path: Path) -> Iterator[Site]:
    """The machine, with a way to packages."""
    with serve(tmp_path / "mirror", bare.machine.here):
        yield bare


def follow(site: Site, *words: str) -> "subprocess.Popen[bytes]":
    """Start `gpujob setup`."""
    return site.laptop.start("setup", "node", *words)


def read_until(process: "subprocess.Popen[bytes]", wanted: str) -> None:
    """Read what a command says until it has said something."""
    said = b""
    for line in process.stderr:
        said += line
        if wanted in line.decode():
            return
    raise AssertionError(f"it never said {wanted!r}: {said.decode()}")


def finish(process: "subprocess.Popen[bytes]") -> Finished:
    """Wait for the end of a command."""
    out, err = process.communicate(timeout=300)
    return Finished(process.returncode, out.decode(), err.decode())


def test_a_variable_of_the_wrong_type_is_told_before_its_role_does_anything(site):
    said = site.set_up("--tags", "base", "--set", "base_log_days=a week")
    assert said.code == 1
    assert "base_log_days" in said.said
    assert re.search(r"cannot be converted to an int|unable to convert to int", said.said)
    assert "changed" not in said.out


def test_it_waits_for_who_holds_the_lock_of_apt(site):
    site.machine.inside(HOLD.format(seconds=20))
    assert site.machine.inside("systemctl is-active holder").stdout.strip() == "active"
    said = site.set_up("--tags", "base", *SMALL)
    assert said.code == 0, said.said
    assert site.try_ssh("systemctl is-active holder").stdout.strip() != "active"


def test_who_holds_the_lock_of_apt_for_ever_is_named(site):
    site.machine.inside(HOLD.format(seconds=600))
    said = site.set_up("--tags", "base", "--set", "apt_patience_s=2", *SMALL)
    site.machine.inside("systemctl stop holder")
    assert said.code == 1
    assert "another program has held apt's locks for 2 s" in said.said


def test_a_mirror_that_goes_down_in_the_middle_fails_its_task_and_a_rerun_completes(bare, tmp_path):
    words = ("--tags", "base,firewall", "--set", 'base_packages=["logrotate", "bc"]')
    with serve(tmp_path / "first", bare.machine.here):
        process = follow(bare, *words)
        read_until(process, "base: Install base packages")
    failed = finish(process)
    assert failed.code == 1
    assert re.search(
        "'(base: Install a time synchronization service|firewall: Install ufw)' failed on node", failed.err
    )
    assert "Connection refused" in failed.err or "Unable to connect" in failed.err or "Failed to fetch" in failed.err
    with serve(tmp_path / "second", bare.machine.here):
        again = bare.set_up(*words)
    assert again.code == 0, again.said


def test_a_full_disk_is_a_clear_failure_and_a_rerun_completes(site):
    words = ("--tags", "base", "--set", 'base_packages=["logrotate", "cowsay"]')
    site.machine.inside("mount -t tmpfs -o size=16k full /var/cache/apt/archives")
    failed = site.set_up(*words)
    site.machine.inside("umount /var/cache/apt/archives")
    assert failed.code == 1
    assert "'base: Install base packages' failed on node" in failed.err
    assert re.search("enough free space|No space left", failed.err)
    assert site.set_up(*words).code == 0


def test_a_connection_that_is_cut_in_the_middle_of_a_task_is_told_and_a_rerun_completes(site):
    words = ("--tags", "base", *SMALL)
    site.machine.inside(HOLD.format(seconds=600))
    process = follow(site, *words)
    read_until(process, "Look up the login user's home")
    waits = "pgrep --full '[h]olds apt' || true"  # words of wait_for_apt.py
    wait_for(lambda: site.machine.inside(waits).stdout, "task that waits", 120)
    site.machine.inside("systemctl stop ssh && pkill -KILL -u ubuntu sshd; systemctl stop holder")
    failed = finish(process)
    site.machine.inside("systemctl start ssh")
    assert failed.code == 1
    assert "lost the connection to node at" in failed.err
    assert "resume: gpujob setup node" in failed.err
    again = site.set_up(*words)
    assert again.code == 0, again.said
