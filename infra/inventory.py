"""What Ansible reads: its settings, the nodes with what ssh needs for each, and the variables, in a folder that does not stay."""

import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.model import Cluster
from infra.ssh.login import ssh_options

FOLDER = Path(__file__).parents[1] / "ansible"
LINKS = "ssh"

# `-F none`: nothing of the person's own settings. A module goes there through ssh's standard input, not as a file.
CONFIG = """\
[defaults]
stdout_callback = gpujob
callback_plugins = {callbacks}
home = {folder}
local_tmp = {folder}/tmp
interpreter_python = auto_silent
retry_files_enabled = False
timeout = 20
[ssh_connection]
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = {folder}/{links}
pipelining = True
retries = 3
"""


@contextmanager
def private_folder(cluster: Cluster, variables: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder with all that Ansible reads, open to its owner alone and gone afterwards."""
    # Not where temporary files go by default: the path of a socket may have a hundred letters and no more.
    with tempfile.TemporaryDirectory(prefix="gpujob-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / LINKS).mkdir(mode=0o700)
        settings = CONFIG.format(folder=folder, callbacks=FOLDER / "callback_plugins", links=LINKS)
        (folder / "ansible.cfg").write_text(settings)
        (folder / "inventory.json").write_text(json.dumps(make_inventory(cluster)))
        (folder / "variables.json").write_text(json.dumps(dict(variables)))
        yield folder


def make_inventory(cluster: Cluster) -> dict[str, Any]:
    """Return the nodes as Ansible takes them, each with what ssh needs to reach it and nothing else."""
    hosts = {}
    for rank, node in enumerate(cluster.nodes):
        options = ssh_options(cluster, node)
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        hosts[name_node(cluster, rank)] = {
            "ansible_host": node.host,
            "ansible_port": node.port,
            "ansible_user": options["User"],
            "ansible_ssh_common_args": shlex.join(words),
        }
    return {"all": {"hosts": hosts}}


def name_node(cluster: Cluster, rank: int) -> str:
    """Return what a node is called in events."""
    return cluster.name if len(cluster.nodes) == 1 else f"{cluster.name}-{rank}"
