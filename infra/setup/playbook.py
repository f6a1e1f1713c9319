"""Runs the playbook against the nodes of a cluster, over their pinned host keys, and tells of each task as it happens.

Ansible is a program that is run, never a module that is imported; `ansible/callback_plugins/gpujob.py` makes it write what
happens as lines of JSON.
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
END_S = 10.0
LINE_BYTES = 1 << 20  # far more than the callback writes of one task
VARIABLE = re.compile(r"^(\w+):|\{\{ (\w+) \| default\(", re.MULTILINE)
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Setup:
    """What is run of a playbook, and how."""

    tags: tuple[str, ...] = ()
    """The roles that are run; none for all of them."""
    check: bool = False
    """Only tell what would change."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    playbook: Path = SITE


def find_program() -> str | None:
    """Return the path of ansible-playbook, of this very installation if it has one; None where there is none."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    return str(beside) if beside.exists() else shutil.which("ansible-playbook")


def check_installed() -> str:
    """Return the path of ansible-playbook; raises UsageError where that or ssh is missing."""
    program = find_program()
    if program is None:
        raise UsageError("setting up a machine needs Ansible, which is not installed", install_command("setup"))
    if shutil.which("ssh") is None:
        raise UsageError("setting up a machine needs ssh, which is not installed", "install openssh-client")
    return program


def check_words(setup: Setup) -> None:
    """Raise UsageError for a role or a variable that our playbook has not: Ansible would say nothing, and do nothing."""
    roles, variables = list_roles(), list_variables()
    for word, kind, known in [(t, "role", roles) for t in setup.tags] + [
        (v, "variable", variables) for v in setup.variables
    ]:
        if word not in known:
            near = difflib.get_close_matches(word, known, 3) or known[:6]
            raise UsageError(f"the playbook has no {kind} '{word}'", f"one of those it has: {', '.join(near)}, ...")


def list_variables() -> list[str]:
    """Return the variables of our playbook, by the files that give each its default."""
    files = [SITE, *FOLDER.glob("roles/*/defaults/main.yml")]
    found = [VARIABLE.findall(file.read_text(encoding="utf-8")) for file in files]
    return sorted({name or other for names in found for name, other in names})


def list_roles() -> list[str]:
    """Return the roles of our playbook; each can be chosen by its name."""
    return sorted(path.name for path in (FOLDER / "roles").glob("*") if path.is_dir())


def find_nodes(cluster: Cluster, setup: Setup) -> Cluster:
    """Return a cluster whose nodes can be set up, where they can be reached now.

    Raises UsageError on the local cloud, where Ansible is missing, and for words that the playbook does not know; NodeError for
    a node that does not answer.
    """
    if cluster.is_local:
        raise UsageError(
            f"'{cluster.name}' is a dry run: its machines are processes of this computer, which the playbook would change",
            "gpujob up --image ubuntu rents a machine and sets it up",
        )
    check_words(setup)
    check_installed()
    for rank in range(len(cluster.nodes)):
        cluster, _ = choose_node(cluster, rank)
    return cluster


def run(cluster: Cluster, setup: Setup, tell: Tell) -> list[Outcome]:
    """Run a playbook on every node of a cluster at once, and hand each event to `tell` as it happens.

    Raises SetupError where a task fails or a node does not answer; what was done stays done. On Ctrl-C Ansible ends, and so do
    its connections; what a node was doing just then it may still finish.
    """
    program = check_installed()
    started, events, lost = time.monotonic(), list[Event](), None
    with private_folder(cluster, setup.variables) as folder:
        for line in play(program, cluster, setup, folder):
            if line["status"] == "over":
                lost = line["lost"]
            else:
                events.append(read_event(line, time.monotonic() - started))
                tell(events[-1])
        said = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    if lost is None or lost:
        error = explain(events, lost, said) if lost else make_error("Ansible did not get to the end", said)
        error.hint = f"gpujob setup {cluster.name} goes on: what is done stays done"
        raise error
    return [add_up(name_node(cluster, rank), events) for rank in range(len(cluster.nodes))]


def play(program: str, cluster: Cluster, setup: Setup, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what Ansible tells, line by line, until it has ended; it is ended if the caller stops listening."""
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
            start_new_session=True,  # Ctrl-C is ours to pass on
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
    """Return what our callback wrote in a line; None for a line that is not its own, or was cut."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "status" in found else None


def make_environment(folder: Path) -> dict[str, str]:
    """Return the environment that Ansible runs in: ours, without the person's own settings of Ansible."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"  # it takes no other encoding
    return {**kept, "ANSIBLE_CONFIG": f"{folder}/ansible.cfg", "LC_ALL": locale}


def end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """End Ansible if it has not ended, and the connections that it keeps open for the next task."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # it ends its workers, which have sessions of their own
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()
    # Whoever still speaks through one of them ends with it.
    for link in (folder / LINKS).glob("*"):
        words = ["ssh", "-F", "none", "-o", f"ControlPath={link}", "-O", "exit", "node"]
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=END_S, check=False)
