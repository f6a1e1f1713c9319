"""Run the playbook on the nodes of a cluster, with their pinned host keys, and report each task.

Ansible is run as a program, never imported; `ansible/callback_plugins/gpujob.py` makes it print events as lines of JSON.
"""

import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.base.installation import install_command
from infra.base.interrupts import hold_interrupts
from infra.cluster.logins import choose_node
from infra.errors import UsageError
from infra.model import Cluster
from infra.setup.events import Event, Outcome, add_up, explain, make_error, read_event
from infra.setup.inventory import FOLDER, LINKS, name_node, private_folder

SITE = FOLDER / "site.yml"
SECRETS = ("dotfiles_key",)
END_S = 10.0
LINE_BYTES = 1 << 20  # far more than the callback prints for one task
NEEDS_KEY = re.compile(r"ssh://|[\w.-]+@[\w.-]+:")
VARIABLE = re.compile(r"^(\w+):|\{\{ (\w+) \| default\(", re.MULTILINE)
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Setup:
    """Which parts of a playbook to run, and how."""

    tags: tuple[str, ...] = ()
    """The roles to run; empty for all."""
    check: bool = False
    """Whether to only report what would change."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further variables: the text of files that the user named, which may be secret."""
    playbook: Path = SITE


def find_program() -> str | None:
    """Return the path of ansible-playbook, preferably of this installation; None if there is none."""
    sibling = Path(sys.executable).with_name("ansible-playbook")
    return str(sibling) if sibling.exists() else shutil.which("ansible-playbook")


def check_installed() -> str:
    """Return the path of ansible-playbook; raises UsageError if that or ssh is missing."""
    program = find_program()
    if program is None:
        raise UsageError("setting up a machine requires Ansible, which is not installed", install_command("setup"))
    if shutil.which("ssh") is None:
        raise UsageError("setting up a machine requires ssh, which is not installed", "install OpenSSH's client")
    return program


def check_words(setup: Setup) -> None:
    """Raise UsageError for an unknown role or variable, which Ansible would silently ignore."""
    roles, variables = list_roles(), list_variables()
    for word, kind, known in [(t, "role", roles) for t in setup.tags] + [
        (v, "variable", variables) for v in (*setup.variables, *setup.files)
    ]:
        if word not in known:
            near = difflib.get_close_matches(word, known, 3) or known[:6]
            raise UsageError(f"the playbook has no {kind} '{word}'", f"use one of: {', '.join(near)}, ...")
    secret = next((name for name in SECRETS if name in setup.variables), None)
    if secret:
        raise UsageError(
            f"{secret} is a secret, which a command line or gpujob.toml would show to others",
            f"keep it in a file: gpujob setup --set-file {secret}=FILE",
        )


def check_unattended(variables: Mapping[str, Any]) -> None:
    """Raise UsageError if the whole playbook needs a key, which only `gpujob setup` can be given."""
    if NEEDS_KEY.match(str(variables.get("dotfiles_repository", ""))):
        raise UsageError(
            "the repository of your dotfiles needs a key, which `up` does not take",
            "launch with --no-setup, then: gpujob setup --set-file dotfiles_key=FILE",
        )


def list_variables() -> list[str]:
    """Return the variables of our playbook, from the files with their defaults."""
    files = [SITE, *FOLDER.glob("roles/*/defaults/main.yml")]
    found = [VARIABLE.findall(file.read_text(encoding="utf-8")) for file in files]
    return sorted({name or other for names in found for name, other in names})


def list_roles() -> list[str]:
    """Return the roles of our playbook."""
    return sorted(path.name for path in (FOLDER / "roles").glob("*") if path.is_dir())


def find_nodes(cluster: Cluster, setup: Setup) -> Cluster:
    """Return a cluster that can be set up, with its nodes' current addresses.

    Raises UsageError on the local cloud, if Ansible is missing, and for unknown roles or variables; NodeError for an unreachable
    node.
    """
    if cluster.is_local:
        raise UsageError(
            f"'{cluster.name}' is a dry run: its machines are processes on this computer, which the playbook would change",
            "launch and set up a real machine: gpujob up --image ubuntu",
        )
    check_words(setup)
    check_installed()
    for rank in cluster.ranks:
        cluster, _ = choose_node(cluster, rank)
    return cluster


def run(cluster: Cluster, setup: Setup, tell: Tell) -> list[Outcome]:
    """Run a playbook on all nodes of a cluster in parallel, and pass each event to `tell`.

    Raises SetupError if a task fails or a node is unreachable; completed tasks stay done. Ctrl-C ends Ansible and its
    connections; a node may still finish its current task.
    """
    program = check_installed()
    started, events, lost = time.monotonic(), list[Event](), None
    with private_folder(cluster, {**setup.variables, **setup.files}) as folder:
        for line in play(program, cluster, setup, folder):
            if line["status"] == "over":
                lost = line["lost"]
            else:
                events.append(read_event(line, time.monotonic() - started))
                tell(events[-1])
        said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    if lost is None or lost:
        error = explain(events, lost, said) if lost else make_error("Ansible did not finish", said)
        error.hint = f"resume: gpujob setup {cluster.name}"
        raise error
    return [add_up(name_node(cluster, rank), events) for rank in cluster.ranks]


def play(program: str, cluster: Cluster, setup: Setup, folder: Path) -> Iterator[dict[str, Any]]:
    """Run Ansible and yield its events; end it if the caller stops iterating."""
    words = [program, "--inventory", f"{folder}/inventory.yml", "--extra-vars", f"@{folder}/variables.yml"]
    words += ["--forks", str(len(cluster.nodes))]
    words += [f"--tags={','.join(setup.tags)}"] if setup.tags else []
    words += ["--check"] if setup.check else []
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*words, str(setup.playbook)],
            cwd=setup.playbook.parent,
            env=make_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which passes it on
        )
    assert process.stdout  # noqa: S101
    try:
        while line := process.stdout.readline(LINE_BYTES):
            if (found := read_line(line)) is not None:
                yield found
        process.wait()
    finally:
        with hold_interrupts():
            end(process, folder)


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line of our callback; None for other or truncated lines."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "status" in found else None


def make_environment(folder: Path) -> dict[str, str]:
    """Return Ansible's environment: ours, without the user's settings of Ansible."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"  # it accepts no other encoding
    return {**kept, "ANSIBLE_CONFIG": f"{folder}/ansible.cfg", "LC_ALL": locale}


def end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """End Ansible if it is running, and the connections that it keeps open for the next task."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # it ends its workers, which have their own sessions
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()
    # This also ends any process that still uses one of them.
    for link in (folder / LINKS).glob("*"):
        words = ["ssh", "-F", "none", "-o", f"ControlPath={link}", "-O", "exit", "node"]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=END_S, check=False)
