"""A laptop that rented a machine: the machine booted, its host keys pinned from its console, its record as `up` writes it."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from infra import state
from infra.launch import readiness
from infra.ledger import known_clusters
from infra.model import Cluster, Node
from infra.ssh import keys
from infra.ssh.login import make_config
from tests.conftest import Finished, Laptop, make_laptop, wait_for
from tests.system.machine import Machine, boot

NAME = "node"
# Small things where the real ones are large and prove no more: torch is 5 GB.
SETTINGS = """\
[setup.variables]
python_packages = ["six"]
python_torch_backend = "cpu"
"""


@dataclass(frozen=True)
class Site:
    """The laptop, the machine, and the record of it."""

    laptop: Laptop
    machine: Machine
    cluster: Cluster

    def set_up(self, *words: str) -> Finished:
        """Type `gpujob setup`."""
        return self.laptop.type("setup", NAME, *words, timeout_s=500)

    def ssh(self, command: str) -> str:
        """Run a command there as the login user, by the ssh program; return what it printed."""
        answer = self.try_ssh(command)
        assert answer.returncode == 0, answer
        return answer.stdout

    def try_ssh(self, command: str, *options: str, user: str = "ubuntu") -> "subprocess.CompletedProcess[str]":
        """Log in by the ssh program, with other options in front of our own."""
        config = self.laptop.home / "ssh_config"
        words = ["ssh", "-F", str(config), "-l", user, *options, f"gpujob-{NAME}", command]
        return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


@contextmanager
def rent(folder: Path, *options: str) -> Iterator[Site]:
    """Boot a machine and go on as `up` does once EC2 has told its address."""
    laptop = make_laptop(folder, GPUJOB_CLUSTER=NAME, LC_ALL="C.UTF-8")
    laptop.write("gpujob.toml", SETTINGS)
    private, public = keys.make_key()
    with mock.patch.dict(os.environ, {"HOME": str(laptop.home)}):
        os.environ.pop("XDG_STATE_HOME", None)
        with boot(public, options=options) as machine:
            node = Node(machine.instance_id, "running", machine.address, 22, "g4dn.xlarge", "us-east-1a")
            owner = "arn:aws:sts::123456789012:user/tester"
            until, now = machine.lease.until, time.time()
            cluster = Cluster(NAME, "aws", "us-east-1", (node,), None, 0.5, until, now, owner)
            state.write_private(state.key_file(NAME), private)
            wait_for(lambda: keys.read_host_keys(machine.console), "host keys on the console", 120)
            keys.pin(state.known_hosts_file(NAME), {node.instance_id: keys.read_host_keys(machine.console)})
            known_clusters.remember(cluster)
            readiness.prepare_node(cluster, 0, machine.lease, readiness.Limits(120), lambda text: None)
            (laptop.home / "ssh_config").write_text(make_config([cluster]))
            yield Site(laptop, machine, cluster)
