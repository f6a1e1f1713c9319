"""Plain ssh reaches clusters by name, whatever the person's own settings say of every host."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Laptop

# Each line alone keeps ssh from a cluster, or opens this laptop to it.
EVERYWHERE = """
ProxyCommand false
ProxyJump nowhere.invalid
RemoteCommand false
RequestTTY force
ControlMaster auto
ControlPath ~/not/there/%C
ControlPersist yes
PubkeyAuthentication no
PubkeyAcceptedAlgorithms rsa-sha2-512
HostKeyAlgorithms rsa-sha2-512
PreferredAuthentications password
IdentityAgent ~/not/there
AddKeysToAgent yes
ForwardAgent yes
ForwardX11 yes
ForwardX11Trusted yes
PermitLocalCommand yes
LocalCommand touch leaked
GatewayPorts yes
AddressFamily inet6
CanonicalizeHostname always
NoHostAuthenticationForLocalhost yes
UserKnownHostsFile ~/not/there
GlobalKnownHostsFile ~/not/there
StrictHostKeyChecking ask
HostKeyAlias other
IdentityFile ~/not/there
IdentitiesOnly no
User root
Port 1
HostName nowhere.invalid
ExitOnForwardFailure yes
LocalForward 1 nowhere.invalid:1
"""
# With these, ssh takes all that it finds.
ADD_UP = {"identityfile", "localforward", "localcommand"}


@pytest.fixture(scope="module")
def configured(rented: Laptop) -> Laptop:
    """A laptop with a cluster, its ssh_config written."""
    assert rented.type("ssh-config", "--yes").code == 0
    return rented


def config_of(laptop: Laptop, folder: Path, settings: str) -> Path:
    """An ssh_config of a person with these settings for every host, which includes ours at its head."""
    include = (laptop.home / ".ssh/config").read_text().splitlines()[0]
    path = folder / "config"
    path.write_text(f"{include}\n\nHost *\n{settings}")
    return path


def effective(laptop: Laptop, config: Path) -> dict[str, str]:
    """What ssh itself makes of a config for our host, but for what adds up."""
    words = ["ssh", "-F", config, "-G", "gpujob-shared"]
    done = subprocess.run(words, env=laptop.environment, capture_output=True, text=True, check=True)
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs if name not in ADD_UP}


@pytest.mark.parametrize("line", EVERYWHERE.strip().splitlines())
def test_no_setting_for_every_host_changes_ours(configured, tmp_path, line):
    assert effective(configured, config_of(configured, tmp_path, line)) == effective(
        configured, config_of(configured, tmp_path, "")
    )


def test_plain_ssh_logs_in_whatever_is_set_for_every_host(configured, tmp_path):
    config = config_of(configured, tmp_path, EVERYWHERE)
    words = ["ssh", "-F", config, "gpujob-shared", "echo in; echo $SSH_AUTH_SOCK; tty"]
    done = subprocess.run(words, env=configured.environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "in\n\nnot a tty\n", done.stderr
    assert not (tmp_path / "leaked").exists()


def test_a_line_that_someone_moved_below_an_entry_is_moved_to_the_head_again(configured):
    config = configured.home / ".ssh/config"
    include = config.read_text().splitlines()[0]
    config.write_text(f"# mine\nHost other\n  User me\n{include}\nHost *\n  ForwardAgent yes\n")
    try:
        assert configured.type("ssh-config", "--yes").code == 0
        assert config.read_text() == f"{include}\n\n# mine\nHost other\n  User me\nHost *\n  ForwardAgent yes\n"
        assert configured.type("ssh-config").code == 0, "there is nothing to ask any more"
    finally:
        config.write_text(f"{include}\n")
