"""Host keys: read from the console, pinned, and insisted on."""

import shutil
import stat
from types import SimpleNamespace

import paramiko
import pytest

from infra.errors import HostKeyError, NodeError
from infra.ssh.connection import DroppedError, ssh_errors
from infra.ssh.keys import make_key, pin, read_host_keys
from tests.conftest import Laptop

CONSOLE = """\
[   12.345678] cloud-init[512]: Generating public/private ed25519 key pair.
ci-info: no authorized SSH keys fingerprints found for user ubuntu.
-----BEGIN SSH HOST KEY KEYS-----
ecdsa-sha2-nistp256 AAAAE2VjZHNh+/= root@ip-172-31-0-1
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB root@ip-172-31-0-1
-----END SSH HOST KEY KEYS-----
[   13.000000] cloud-init[512]: done
"""


def test_host_keys_are_read_from_cloud_init_s_block():
    assert read_host_keys(CONSOLE) == ("ecdsa-sha2-nistp256 AAAAE2VjZHNh+/=", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB")


def test_a_console_with_prefixes_and_carriage_returns_is_read_too():
    console = CONSOLE.replace("\n", "\r\n").replace("ssh-ed25519", "[   12.9] cloud-init[512]: ssh-ed25519")
    assert read_host_keys(console)[1] == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB"


def test_the_last_boot_s_keys_count():
    assert read_host_keys(CONSOLE + CONSOLE.replace("IB", "IC"))[1].endswith("IC")


@pytest.mark.parametrize("console", ["", "booting", CONSOLE[: CONSOLE.index("-----END")]])
def test_a_console_without_the_whole_block_has_no_keys_yet(console):
    assert read_host_keys(console) == ()


def test_keys_are_pinned_by_the_instance_s_id_in_openssh_s_format(tmp_path):
    pin(tmp_path / "known_hosts", {"i-0a": ("ssh-ed25519 AAAA", "ssh-rsa BBBB"), "i-0b": ("ssh-ed25519 CCCC",)})
    lines = (tmp_path / "known_hosts").read_text().splitlines()
    assert lines == ["i-0a ssh-ed25519 AAAA", "i-0a ssh-rsa BBBB", "i-0b ssh-ed25519 CCCC"]


@pytest.fixture
def copy(rented: Laptop, tmp_path):
    """Another laptop that knows the same cluster."""
    laptop = Laptop(tmp_path / "home", tmp_path / "project", rented.settings)
    shutil.copytree(rented.home / ".local/state/gpujob/clusters", laptop.home / ".local/state/gpujob/clusters")
    laptop.project.mkdir()
    return laptop


def test_a_changed_host_key_is_refused_with_an_explanation(copy):
    known_hosts = copy.home / ".local/state/gpujob/clusters/shared/known_hosts"
    name = known_hosts.read_text().split()[0]
    known_hosts.write_text(f"{name} {make_key()[1]}\n")
    jobs = copy.type("jobs")
    assert jobs.code == 1
    assert "has changed: SHA256:" in jobs.err
    assert jobs.err.count("SHA256:") == 2
    assert "Another machine may have its address" in jobs.err
    assert "Traceback" not in jobs.said


def test_a_host_key_that_was_never_pinned_is_refused(copy):
    (copy.home / ".local/state/gpujob/clusters/shared/known_hosts").write_text("")
    jobs = copy.type("jobs")
    assert jobs.code == 1
    assert "Traceback" not in jobs.said


def test_another_key_is_not_let_in(copy):
    key = copy.home / ".local/state/gpujob/clusters/shared/id_ed25519"
    key.write_text(make_key()[0])
    jobs = copy.type("jobs")
    assert jobs.code == 1
    assert "rejects this cluster's SSH key" in jobs.err


@pytest.mark.parametrize("file", ["id_ed25519", "known_hosts"])
def test_a_lost_key_is_told(copy, file):
    (copy.home / ".local/state/gpujob/clusters/shared" / file).unlink()
    jobs = copy.type("jobs")
    assert jobs.code == 1
    assert f"clusters/shared/{file} is missing" in jobs.err


def every_subclass(root: type[Exception]) -> set[type[Exception]]:
    found = {root}
    for child in root.__subclasses__():
        found |= every_subclass(child)
    return found


@pytest.mark.parametrize("kind", sorted(every_subclass(paramiko.SSHException), key=lambda kind: kind.__name__))
def test_none_of_paramiko_s_errors_is_forgotten(kind):
    # Each has arguments of its own, which do not matter here.
    key = SimpleNamespace(asbytes=lambda: b"key")
    facts = {"__init__": lambda self: None, "__str__": lambda self: "said", "key": key, "expected_key": key}
    error = type(kind.__name__, (kind,), facts)()
    with pytest.raises(NodeError) as caught, ssh_errors("node"):
        raise error
    if issubclass(kind, paramiko.BadHostKeyException):
        assert type(caught.value) is HostKeyError
    elif not issubclass(kind, paramiko.AuthenticationException):
        assert type(caught.value) is DroppedError


def test_the_state_folder_is_its_owner_s_alone(rented: Laptop):
    folder = rented.home / ".local/state/gpujob"
    paths = [folder, *folder.glob("clusters/**/*")]
    assert {"id_ed25519", "known_hosts", "cluster.json"} <= {path.name for path in paths}
    for path in paths:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
