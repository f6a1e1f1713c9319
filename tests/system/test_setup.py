"""The playbook on a real Debian 12 with systemd, OpenSSH and cloud-init, by `gpujob setup` over pinned host keys.

One machine is set up, once more, and once more only to look; then everything that must hold is tried on it.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import Finished, wait_for
from tests.system.mirror import answers, serve
from tests.system.site import Site, rent

NVME = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS0123456789ABCDEF0"
DISK_BYTES = 64 << 20
# A package like those of the driver: its name, and nothing in it.
DRIVER = """
mkdir -p /tmp/driver/DEBIAN && cd /tmp
cat > driver/DEBIAN/control <<'END'
Package: nvidia-driver-550
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a name
END
dpkg-deb --build driver > /dev/null && dpkg --install driver.deb
"""
ROOT_KEY = "mkdir -p /root/.ssh && cp /home/ubuntu/.ssh/authorized_keys /root/.ssh/authorized_keys"
LISTENER = "systemd-run --quiet --unit=listener python3 -m http.server 8000 --bind 0.0.0.0"
PASSWORD = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
BATCH = ("-o", "BatchMode=yes")
SMI = """#!/bin/sh
echo "{said}"
exit {code}
"""


@dataclass(frozen=True)
class Story:
    """What was so before, and how each of the three runs went."""

    site: Site
    root_before: "subprocess.CompletedProcess[str]"
    password_before: str
    open_before: bool
    first: Finished
    second: Finished
    look: Finished


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty disk such as comes with a machine."""
    file = tmp_path_factory.mktemp("disk") / "disk"
    file.touch()
    with file.open("r+b") as empty:
        empty.truncate(DISK_BYTES)
    device = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True).stdout
    yield device.strip()
    subprocess.run(["losetup", "--detach", device.strip()], check=True)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, disk: str) -> Iterator[Story]:
    """A machine that was set up."""
    folder = tmp_path_factory.mktemp("story")
    with rent(folder, f"--bind={disk}:{NVME}") as site, serve(folder / "mirror", site.machine.here):
        site.machine.inside(f"{DRIVER}\n{ROOT_KEY}\n{LISTENER}")
        wait_for(lambda: answers(site.machine.address, 8000), "listener")
        before = site.try_ssh("true", *BATCH, user="root"), refusal(site, "ubuntu"), True
        yield Story(site, *before, site.set_up(), site.set_up(), site.set_up("--check"))


def refusal(site: Site, user: str) -> str:
    """Return what a login without a key is told."""
    return site.try_ssh("true", *BATCH, *PASSWORD, user=user).stderr


def test_the_first_run_comes_to_its_end(story):
    assert story.first.code == 0, story.first.said
    assert "changed    base: Install base packages" in story.first.said


def test_the_second_run_changes_nothing(story):
    assert story.second.code == 0, story.second.said
    assert re.search(r"\d\d tasks, 0 changed", story.second.said), story.second.said


def test_a_look_finds_nothing_to_do(story):
    assert story.look.code == 0, story.look.said
    assert re.search(r"\d\d tasks, 0 would change", story.look.said), story.look.said


def test_no_password_gets_in(story):
    assert "(publickey,password" in story.password_before
    assert refusal(story.site, "ubuntu").strip().endswith("Permission denied (publickey).")


def test_root_does_not_get_in(story):
    assert story.root_before.returncode == 0
    assert "Permission denied" in story.site.try_ssh("true", *BATCH, user="root").stderr


def test_the_login_user_still_becomes_root_as_cloud_init_lets_it(story):
    assert story.site.ssh("sudo -n id --user").strip() == "0"


def test_nothing_but_ssh_is_let_in(story):
    assert story.open_before
    assert story.site.ssh("curl --silent http://127.0.0.1:8000/ | head -n 1").startswith("<!DOCTYPE")
    assert not answers(story.site.machine.address, 8000)
    assert answers(story.site.machine.address, 22)
    assert "Default: deny (incoming), allow (outgoing)" in story.site.ssh("sudo ufw status verbose")


def test_what_a_running_job_stands_on_is_held(story):
    assert story.site.ssh("apt-mark showhold").split() == ["nvidia-driver-550"]
    settings = story.site.ssh("apt-config dump")
    assert 'Unattended-Upgrade::Package-Blacklist:: "nvidia-";' in settings
    assert re.findall('Automatic-Reboot "(.*)"', settings) == ["false"]
    origins = re.findall('Origins-Pattern:: "(.*)"', settings)
    assert origins and all("security" in origin for origin in origins)
    assert story.site.ssh("sudo unattended-upgrade --dry-run --debug 2>&1 | grep 'Initial blacklist: .*nvidia-'")


def test_the_journal_stays_small(story):
    said = story.site.ssh("sudo journalctl --unit systemd-journald --boot --output cat | grep 'System Journal'")
    assert "max 50.0M" in said.splitlines()[-1]


def test_logs_are_kept_for_a_week(story):
    story.site.machine.inside("printf '/var/log/mine {\\n}\\n' > /etc/logrotate.d/mine")  # it says nothing of its own
    said = story.site.try_ssh(
        "sudo logrotate --debug /etc/logrotate.conf 2>&1"
    ).stdout  # not every log of Debian's is there
    assert re.search(r"rotating pattern: /var/log/mine +after 1 days \(7 rotations\)", said), said
    story.site.machine.inside("echo x > /var/log/mine; logrotate --force /etc/logrotate.conf || true")
    assert story.site.ssh("ls /var/log/mine.*") == "/var/log/mine.1.gz\n"


def test_the_notebook_answers_on_loopback_alone_and_asks_for_its_token(story):
    site = story.site
    assert site.ssh("stat --format=%a ~/.gpujob/notebook.token").strip() == "600"
    site.ssh("systemctl --user start gpujob-notebook")
    page = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8888/api/contents"
    wait_for(lambda: site.try_ssh(page).stdout == "403", "page that asks for a token", 90)
    token = "TOKEN=$(cat ~/.gpujob/notebook.token); "
    assert site.ssh(token + page + ' --header "Authorization: token $TOKEN"') == "200"
    check_loopback(site, 8888)


def test_tensorboard_answers_on_loopback_alone(story):
    story.site.ssh("systemctl --user start gpujob-tensorboard")
    page = "curl --silent http://127.0.0.1:6006/ | head -c 200"
    wait_for(lambda: "<!doctype html>" in story.site.try_ssh(page).stdout, "page of TensorBoard", 90)
    check_loopback(story.site, 6006)


def check_loopback(site: Site, port: int) -> None:
    """See that a port listens on loopback alone."""
    assert site.ssh(f"ss -H -ltn 'sport = :{port}' | tr -s ' ' | cut -d ' ' -f 4").split() == [f"127.0.0.1:{port}"]


def test_a_job_runs_on_the_python_of_the_playbook_and_comes_home(story):
    story.site.laptop.write("job.py", "import six, sys; open('python', 'w').write(f'{six.__file__} {sys.executable}')")
    ran = story.site.laptop.type("run", "job.py")
    assert ran.code == 0, ran.said
    (home,) = story.site.laptop.project.glob("runs/node-*/files/python")
    six, python = home.read_text().split()
    assert six.startswith("/opt/gpujob/python/lib/")
    assert python.endswith("/.gpujob/jobs/1/environment/bin/python")


def test_the_disk_that_comes_with_the_machine_is_the_users(story):
    assert story.site.ssh("touch /scratch/mine && findmnt --noheadings --output FSTYPE /scratch").strip() == "ext4"


def test_an_emptied_disk_is_there_again_after_a_reboot(story):
    story.site.machine.inside(f"umount /scratch && wipefs --all --quiet {NVME} && systemctl restart gpujob-scratch")
    assert story.site.ssh("ls -A /scratch; touch /scratch/mine").strip() == "lost+found"


@pytest.fixture
def gpu(story: Story) -> Iterator[Site]:
    """The machine with the sign of a GPU of NVIDIA's, and no driver."""
    story.site.machine.inside("mkdir -p /run/pci/0000 && echo 0x10de > /run/pci/0000/vendor")
    yield story.site
    story.site.machine.inside("rm -f /usr/local/bin/nvidia-smi; systemctl disable --quiet gpujob-nvidia || true")


def install_smi(site: Site, said: str, code: int) -> None:
    """Put a stand-in for nvidia-smi there."""
    program = SMI.format(said=said, code=code)
    words = f"cat > /usr/local/bin/nvidia-smi <<'END'\n{program}END\nchmod 755 /usr/local/bin/nvidia-smi"
    site.machine.inside(words)


def drive(site: Site, *words: str) -> Finished:
    """Run the role of the driver."""
    return site.set_up("--tags", "nvidia", "--set", "nvidia_devices=/run/pci", *words)


def test_a_gpu_without_a_driver_is_a_clear_failure_where_none_can_be_installed(gpu):
    said = drive(gpu)
    assert said.code == 1
    assert "the machine has a GPU but no driver" in said.said


def test_a_driver_that_works_stays_and_is_kept_awake(gpu):
    install_smi(gpu, "Driver Version: 550", 0)
    first, second = drive(gpu), drive(gpu)
    assert first.code == 0, first.said
    assert ", 0 changed" in second.said
    assert gpu.ssh("systemctl is-active gpujob-nvidia").strip() == "active"


def test_a_driver_that_needs_a_reboot_does_not_get_one_while_a_job_runs(gpu):
    install_smi(gpu, "Failed to initialize NVML: Driver/library version mismatch", 18)
    assert gpu.laptop.type("run", "--detach", "--", "sleep", "600").code == 0
    refused = drive(gpu)
    assert refused.code == 1
    assert "jobs are running or queued" in refused.said
    gpu.laptop.type("cancel")
    told = drive(gpu, "--set", "nvidia_reboot=false")
    assert "Driver/library version mismatch" in told.said
