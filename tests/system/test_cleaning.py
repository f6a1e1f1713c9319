"""What `bake` does to a machine before EC2 makes an image of it, on a real systemd and cloud-init; then the boot after it."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra import state
from infra.image.cleaning import clean, undo
from infra.node.packing import install_agent
from infra.ssh import keys
from infra.ssh.connection import connect
from tests.conftest import wait_for
from tests.system.machine import join, start
from tests.system.site import NAME, Site

LEAVE = """
mkdir -p ~/.gpujob/environments/e ~/.gpujob/jobs/1 && touch ~/.gpujob/environments/e/here ~/.gpujob/jobs/1/fetched
echo secret > ~/.netrc; echo 'rm -rf' > ~/.bash_history; echo token > ~/.gpujob/notebook.token; sudo touch /var/tmp/mine
python3 -c 'import os, sys; from pathlib import Path; sys.path.insert(0, os.path.expanduser("~/.gpujob/agent.pyz"))
from agent.environment.uv import fingerprint; e = Path.home() / ".gpujob/environments/e"
(e / "ready").write_text(fingerprint(e))'
mkdir -p ~/.gpujob/environments/planted ~/.config/systemd/user ~/.local/bin; echo planted >> ~/.bashrc; touch ~/.local/bin/python3
sudo mkdir -p ~/.gpujob/jobs/1/root/owned /var/spool/cron/crontabs; sudo touch /var/spool/cron/crontabs/ubuntu /etc/ld.so.preload
"""
LEFT = """
for one in /etc/ssh/ssh_host_* /home/ubuntu/.ssh/authorized_keys /home/ubuntu/.netrc /home/ubuntu/.bash_history /var/tmp/mine \
  /home/ubuntu/.gpujob/jobs* /home/ubuntu/.gpujob/notebook.token /var/lib/cloud/instance /var/log/cloud-init.log \
  /home/ubuntu/.gpujob/environments/planted /home/ubuntu/.config/systemd /home/ubuntu/.local/bin \
  /var/spool/cron/crontabs/ubuntu /etc/ld.so.preload; do
  if [ -e "$one" ]; then echo "$one"; fi
done
wc -c < /etc/machine-id
systemctl is-enabled gpujob-lease.timer gpujob-guard.service || true
systemctl is-active gpujob-lease.timer
test -e /home/ubuntu/.gpujob/environments/e/here && cmp /etc/skel/.bashrc /home/ubuntu/.bashrc
"""
SEED = "/var/lib/cloud/seed"


@pytest.fixture
def known_hosts(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process, as the site's laptop, has the host keys that it knows."""
    monkeypatch.setenv("HOME", str(site.laptop.home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return state.known_hosts_file(NAME)


def leave(site: Site) -> None:
    """Leave what a person and jobs leave, on a machine that may have been cleaned before."""
    with connect(site.cluster) as connection:
        install_agent(connection)
    site.ssh(LEAVE)


@pytest.mark.usefixtures("known_hosts")
def test_a_machine_that_was_cleaned_takes_logins_again_if_no_image_is_made(site):
    leave(site)
    before = site.ssh("cat /etc/machine-id")
    with connect(site.cluster) as connection:
        clean(connection)
        assert site.try_ssh("true").returncode != 0
        undo(connection)
    assert site.ssh("cat /etc/machine-id") == before
    assert site.ssh("systemctl is-enabled gpujob-lease.timer gpujob-guard.service").split() == ["enabled", "enabled"]


def test_nothing_that_tells_whose_it_was_is_on_the_disk_and_its_next_boot_is_a_first_one_under_the_same_lease(
    site, known_hosts
):
    leave(site)
    later = int(time.time()) + 7200
    site.ssh(f"sudo gpujob-lease '{datetime.fromtimestamp(later, UTC):%Y-%m-%d %H:%M:%S UTC}'")
    pinned = keys.read_pins(known_hosts)[site.machine.instance_id]
    site.machine.inside(f"cp -a {SEED} /root/seed")  # EC2 keeps what it tells a machine outside of it
    with connect(site.cluster) as connection:
        clean(connection)
    assert site.machine.inside(LEFT).stdout.split() == ["0", "disabled", "disabled", "active"]

    console = len(site.machine.console)
    site.machine.inside(f"mv /root/seed {SEED}; systemctl reboot")
    wait_for(
        lambda: site.machine.off, "end of the boot before", 120
    )  # systemd-nspawn leaves the next one to its caller
    start(site.machine)
    join(site.machine)
    wait_for(lambda: keys.read_host_keys(site.machine.console[console:]), "new host keys", 120)
    found = keys.read_host_keys(site.machine.console)
    assert not set(found) & set(pinned)
    keys.pin(known_hosts, {site.machine.instance_id: found})
    with connect(site.cluster, patience_s=60):
        assert float(site.ssh("sudo gpujob-lease")) == later
    assert site.ssh("systemctl is-enabled gpujob-lease.timer gpujob-guard.service").split() == ["enabled", "enabled"]
    assert site.ssh("systemctl is-active gpujob-lease.timer").strip() == "active"
    assert len(site.ssh("cat /etc/machine-id").strip()) == 32
