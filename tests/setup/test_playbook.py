"""The playbook over real SSH: a real Ansible against real OpenSSH servers, with plays of the test's own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import state
from infra.base.installation import install_command
from infra.errors import SetupError, UsageError
from infra.ledger import known_clusters
from infra.model import Cluster, Node
from infra.setup import playbook
from infra.setup.events import Event
from infra.ssh import keys
from tests.bench import sshd
from tests.conftest import REPOSITORY, wait_for

PLAY = """
- name: A play of the test's own
  hosts: all
  gather_facts: false
  vars: {{ansible_python_interpreter: {python}}}
  tasks: {tasks}
"""
pytestmark = pytest.mark.skipif(bool(sshd.lacking()), reason="no OpenSSH server here")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder with the record of a cluster "box" of two nodes, and their servers."""
    folder = tmp_path_factory.mktemp("playbook")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as servers:
        patch.setenv("HOME", str(folder))
        patch.delenv("XDG_STATE_HOME", raising=False)
        private_key, _ = keys.make_key()
        state.write_private(state.key_file("box"), private_key)
        started = [servers.enter_context(sshd.serve(folder / f"server{n}", state.key_file("box"))) for n in range(2)]
        nodes = tuple(make_node(f"i-{n}", server.port) for n, server in enumerate(started))
        pins = {node.instance_id: (server.host_key,) for node, server in zip(nodes, started, strict=True)}
        keys.pin(state.known_hosts_file("box"), pins)
        facts = {"gpu": None, "price_usd": 1.0, "lease_until": time.time() + 9999, "launched_at": 0.0}
        known_clusters.remember(Cluster("box", "aws", "us-east-1", nodes, owner="arn:aws:iam::1:user/u", **facts))
        yield folder


def make_node(name: str, port: int) -> Node:
    return Node(name, "running", "127.0.0.1", port, "g4dn.xlarge", "us-east-1a")


@pytest.fixture
def box(home: Path) -> Cluster:
    found = known_clusters.recall("box")
    assert found
    return found


def write_play(folder: Path, *tasks: dict[str, Any]) -> Path:
    path = folder / "play.yml"
    path.write_text(PLAY.format(python=sys.executable, tasks=json.dumps(tasks)))
    return path


def play(box: Cluster, path: Path, **settings: Any) -> tuple[list[Event], Any]:
    """Run a play; return its events, and what it came to or the error that it ended in."""
    events: list[Event] = []
    try:
        return events, playbook.run(box, playbook.Setup(playbook=path, **settings), events.append)
    except SetupError as error:
        return events, error


def command(name: str, words: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.shell": words, **more}


def left(home: Path) -> list[psutil.Process]:
    """Every process of Ansible's or its connections' that this test's home is known to."""
    found = []
    for process in psutil.process_iter():
        try:
            if "/tmp/gpujob-" in " ".join(process.cmdline()) and process.environ().get("HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_each_task_is_told_on_each_node_and_added_up(box, home, tmp_path):
    file = {
        "path": f"{tmp_path}/{{{{ inventory_hostname }}}}",
        "content": "x\n",
        "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}",
    }
    copy = {"name": "Write a file", "ansible.builtin.copy": {"dest": file["dest"], "content": "x\n", "mode": "0600"}}
    skip = command("Never", "false", when="false")
    path = write_play(tmp_path, copy, skip, command("Look", "true", changed_when=False))

    events, first = play(box, path)
    assert [(e.task, e.status) for e in events if e.node == "box-1"] == [
        ("Write a file", "started"), ("Write a file", "changed"), ("Never", "started"), ("Never", "skipped"),
        ("Look", "started"), ("Look", "ok"),
    ]  # fmt: skip
    assert [(o.node, o.tasks, o.changed) for o in first] == [("box-0", 2, 1), ("box-1", 2, 1)]
    assert (tmp_path / "box-0").read_text() == "x\n"
    _, again = play(box, path)
    assert [(o.tasks, o.changed) for o in again] == [(2, 0), (2, 0)]
    assert left(home) == []


def test_the_nodes_run_side_by_side(box, tmp_path):
    """Each waits for what the other one writes."""
    other = "{{ 'box-1' if inventory_hostname == 'box-0' else 'box-0' }}"
    words = f"touch {tmp_path}/{{{{ inventory_hostname }}}}; while ! test -e {tmp_path}/{other}; do sleep 0.05; done"
    _, outcome = play(box, write_play(tmp_path, command("Meet", f"timeout 60 sh -c '{words}'")))
    assert [o.changed for o in outcome] == [1, 1]


def test_a_failed_task_is_named_with_what_it_said_and_the_other_node_goes_on(box, tmp_path):
    words = "if test {{ inventory_hostname }} = box-1; then echo no space left >&2; exit 7; fi"
    path = write_play(tmp_path, command("Break", words), command("Go on", "true"))
    events, error = play(box, path)
    assert error.what == "'Break' failed on box-1: exit code 7"
    assert error.__notes__ == ["no space left"]
    assert "gpujob setup box" in error.hint
    assert [e.status for e in events if e.task == "Go on" and e.node == "box-0"] == ["started", "changed"]


def test_what_may_fail_or_is_mended_is_no_failure(box, tmp_path):
    mended = {"name": "Try", "block": [command("Break", "false")], "rescue": [command("Mend", "true")]}
    path = write_play(tmp_path, command("May", "false", ignore_errors=True), mended)
    _, outcome = play(box, path)
    assert [o.tasks for o in outcome] == [2, 2]


def test_of_a_loop_the_items_that_failed_are_told(box, tmp_path):
    loop = command("Each", "echo {{ item }} >&2; test {{ item }} != b", loop=["a", "b"])
    _, error = play(box, write_play(tmp_path, loop))
    assert "'Each' failed on box-0: b: exit code 1" in error.what


def test_a_variable_of_the_wrong_type_is_told_as_the_role_declares_it(box, tmp_path):
    meta = tmp_path / "roles" / "paint" / "meta"
    meta.mkdir(parents=True)
    spec = {"argument_specs": {"main": {"options": {"paint_coats": {"type": "int"}}}}}
    (meta / "argument_specs.yml").write_text(json.dumps(spec))
    path = write_play(tmp_path, {"name": "Paint", "ansible.builtin.import_role": {"name": "paint"}})
    _, error = play(box, path, variables={"paint_coats": "many"})
    assert "failed on box-0" in error.what
    assert "paint_coats" in error.what and "int" in error.what
    assert "{" not in error.what


TEMPLATE = "{{ lookup('pipe', 'touch MARKER') }}"


def test_no_variable_is_evaluated_as_a_template(box, tmp_path):
    """Neither a text, nor one inside of a list or a dictionary, nor a name, wherever the playbook uses it."""
    marker = tmp_path / "ran"
    template = TEMPLATE.replace("MARKER", str(marker))
    values = {
        "text": template,
        "block": "{% if lookup('pipe', 'touch MARKER') %}x{% endif %}".replace("MARKER", str(marker)),
        "inner": [template, {"deep": [template], template: template}],
        "odd": 'quote " backslash \\ newline \n escape \x1b emoji \U0001f600 {# comment #}',
    }
    shown = {
        "name": "Show",
        "ansible.builtin.copy": {"dest": f"{tmp_path}/{{{{ inventory_hostname }}}}", "content": "{{ all | to_json }}"},
        "vars": {"all": "{{ dict(names | zip(names | map('extract', vars))) }}", "names": sorted(values)},
    }
    used = command("Use {{ text }}", "true", when="text | length > 0 and inner[0] is defined")
    loop = command("Each", "true {{ item | quote }}", loop="{{ inner }}")
    _, outcome = play(box, write_play(tmp_path, shown, used, loop), variables=values)
    assert not marker.exists()
    assert not isinstance(outcome, Exception), outcome
    assert json.loads((tmp_path / "box-0").read_text()) == values


@pytest.mark.parametrize("where", ["host", "instance", "tag", "key"])
def test_nothing_that_a_cluster_or_a_project_is_called_is_evaluated_as_a_template(box, home, tmp_path, where):
    marker = tmp_path / "ran"
    template = TEMPLATE.replace("MARKER", str(marker))
    cluster, settings = box, dict[str, Any]()
    if where == "host":
        nodes = (Node(**{**vars(box.nodes[0]), "host": template}), box.nodes[1])
        cluster = Cluster(**{**vars(box), "nodes": nodes})
    elif where == "instance":
        nodes = (Node(**{**vars(box.nodes[0]), "instance_id": template}), box.nodes[1])
        cluster = Cluster(**{**vars(box), "nodes": nodes})
    elif where == "tag":
        settings = {"tags": (template, "all")}
    else:
        settings = {"variables": {template: 1}}
    play(cluster, write_play(tmp_path, command("Use {{ inventory_hostname }}", "true")), **settings)
    assert not marker.exists()


def test_what_a_node_answers_is_not_evaluated_as_a_template(box, tmp_path):
    marker = tmp_path / "ran"
    template = TEMPLATE.replace("MARKER", str(marker))
    (tmp_path / "answer").write_text(f"{template}\n\x1b]0;title\x07\n" + "x" * 3_000_000)
    path = write_play(
        tmp_path,
        command("Read", f"cat {tmp_path}/answer", register="answer"),
        {"name": "Use", "ansible.builtin.debug": {"msg": "{{ answer.stdout_lines[0] }}"}},
        {"name": "Set", "ansible.builtin.set_fact": {"again": "{{ answer.stdout_lines[0] }}"}},
        command("Break {{ again }}", f"cat {tmp_path}/answer; exit 1"),
    )
    _, error = play(box, path)
    assert not marker.exists()
    assert "exit code 1" in error.what
    assert len("".join([error.what, *error.__notes__])) < 100_000


def test_a_node_that_does_not_answer_is_told_and_the_other_one_is_set_up(box, tmp_path):
    dead = make_node("i-0", 9)
    events, error = play(
        Cluster(**{**vars(box), "nodes": (dead, box.nodes[1])}), write_play(tmp_path, command("Go", "true"))
    )
    assert "lost the connection to box-0 at 'Go'" in error.what
    assert [e.status for e in events if e.node == "box-1"] == ["started", "changed"]


def test_a_node_that_shows_another_host_key_is_not_touched(box, tmp_path):
    swapped = Cluster(
        **{**vars(box), "nodes": (make_node("i-1", box.nodes[0].port), make_node("i-0", box.nodes[1].port))}
    )
    path = write_play(tmp_path, command("Go", f"touch {tmp_path}/was-here"))
    events, error = play(swapped, path)
    assert {e.status for e in events} == {"started", "unreachable"}
    assert error.what == "lost the connection to box-0 at 'Go': Host key verification failed."
    assert not (tmp_path / "was-here").exists()


def test_a_check_changes_nothing_and_tells_what_would_change(box, tmp_path):
    copy = {"name": "Write", "ansible.builtin.copy": {"dest": f"{tmp_path}/file", "content": "x", "mode": "0600"}}
    _, outcome = play(box, write_play(tmp_path, copy), check=True)
    assert [o.changed for o in outcome] == [1, 1]
    assert not (tmp_path / "file").exists()


def test_a_playbook_that_cannot_be_read_is_told_in_ansible_s_words(box, tmp_path):
    path = tmp_path / "play.yml"
    path.write_text("- hosts: all\n  tasks: [{nonsense: {}}]\n")
    _, error = play(box, path)
    assert "nonsense" in "\n".join([error.what, *getattr(error, "__notes__", [])])


def test_ctrl_c_ends_ansible_and_its_connections(box, home, tmp_path):
    waiting = tmp_path / "began"
    path = write_play(tmp_path, command("Wait", f"touch {waiting}; while [ -e {waiting} ]; do sleep 0.1; done"))
    script = (
        "import sys; from pathlib import Path; from infra.ledger import known_clusters; from infra.setup import playbook\n"
        "setup = playbook.Setup(playbook=Path(sys.argv[1]))\n"
        "playbook.run(known_clusters.recall('box'), setup, lambda event: None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], env=environment, stderr=subprocess.PIPE)
    try:
        wait_for(waiting.exists, "task")
        assert left(home)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
        assert b"KeyboardInterrupt" in said
        wait_for(lambda: not left(home), "end of every connection")
    finally:
        waiting.unlink(missing_ok=True)  # what the node was doing, it finishes


def test_the_person_s_own_settings_of_ansible_and_ssh_do_not_matter(box, home, tmp_path, monkeypatch):
    (home / ".ansible.cfg").write_text("[defaults]\nstdout_callback = minimal\nforks = nonsense\n")
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    _, outcome = play(box, write_play(tmp_path, command("Go", "true")))
    assert [o.changed for o in outcome] == [1, 1]
    assert not (home / ".ansible").exists()


def test_without_ansible_it_says_what_to_install(box, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError) as refused:
        playbook.find_nodes(box, playbook.Setup())
    assert refused.value.hint == install_command("setup")
