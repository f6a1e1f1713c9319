"""Ansible's input in a temporary folder: settings, inventory and variables.

Ansible evaluates strings in inventories and variables as Jinja templates, on this computer, and a template can start programs.
Ours are data, some from an untrusted project, so every string is marked `!unsafe`, which means "not a template": https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_advanced_syntax.html#unsafe-or-raw-strings
"""

import json
import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from infra.errors import UsageError
from infra.model import Cluster
from infra.ssh.login import ssh_options

FOLDER = Path(__file__).parents[2] / "ansible"
LINKS = "ssh"

# `-F none`: without the user's settings. Modules are sent through ssh's standard input, not as files.
CONFIG = """\
[defaults]
stdout_callback = gpujob
callback_plugins = {callbacks}
home = {folder}
local_tmp = {folder}/tmp
interpreter_python = auto_silent
retry_files_enabled = False
timeout = 20
[inventory]
enable_plugins = yaml
[ssh_connection]
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = {folder}/{links}
pipelining = True
retries = 3
"""


@contextmanager
def private_folder(cluster: Cluster, variables: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a private temporary folder with Ansible's input."""
    # Not in the default temporary folder: the path of a socket is limited to about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="gpujob-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / LINKS).mkdir(mode=0o700)
        settings = CONFIG.format(folder=folder, callbacks=FOLDER / "callback_plugins", links=LINKS)
        (folder / "ansible.cfg").write_text(settings)
        (folder / "inventory.yml").write_text(write_data(make_inventory(cluster)))
        (folder / "variables.yml").write_text(write_data(variables))
        yield folder


def make_inventory(cluster: Cluster) -> dict[str, Any]:
    """Return the inventory, with each node's ssh options."""
    hosts = {}
    for rank in cluster.ranks:
        node = cluster.nodes[rank]
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
    """Return a node's name in events."""
    return cluster.name if len(cluster.nodes) == 1 else f"{cluster.name}-{rank}"


def write_data(value: Any) -> str:
    """Return a value as YAML that Ansible does not evaluate; raises UsageError for an unsupported value."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{write_text(str(key))}: {write_data(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(write_data, value)) + "]"
        case str() | datetime() | date() | time():  # TOML has dates, which the playbook treats as text
            return write_text(str(value))
        case None | bool() | int():
            return json.dumps(value)
        case float() if math.isfinite(value):
            return json.dumps(value)
    raise UsageError(
        f"unsupported value of a playbook variable: {value!r}", "use text, numbers, true, false, lists or tables"
    )


def write_text(text: str) -> str:
    """Return a YAML string that Ansible does not evaluate, with all but plain ASCII escaped."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'!unsafe "{"".join(plain)}"'
