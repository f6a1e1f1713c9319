"""A job with Ray over two nodes: by a stand-in for Ray that is as hard to end as Ray is, and has its sockets and versions."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent import test_several_nodes as several
from tests.agent.test_several_nodes import Pair
from tests.agent_fixtures import kill
from tests.conftest import wait_for

pair = several.pair
NODES = """
import json, os, socket
def init(address, log_to_driver, logging_level):
    global ports
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64 and os.environ["RAY_AUTH_MODE"] == "token"
    ports = address.rsplit(":", 1)
def nodes():
    with socket.create_connection(ports) as link:
        link.sendall(b"list\\n")
        return json.loads(link.makefile().readline())
"""
# Its processes leave their session and take SIGTERM for a wish; the head answers before it has itself as a node, as Ray's
# does, and turns a worker away that comes then.
PROGRAM = """
import json, os, signal, socket, subprocess, sys, time
VERSION = os.environ.get("STAND_IN", "2.60.0")
def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    given = dict(word[2:].partition("=")[::2] for word in sys.argv[2:])
    place = given["temp-dir"] + "/session_2026-11-28_01-50-37_409780_1234567/sockets"
    if not os.path.isdir(place):
        os.makedirs(place)
    if os.path.exists(place + "/plasma_store"):
        os.remove(place + "/plasma_store")
    socket.socket(socket.AF_UNIX).bind(place + "/plasma_store")
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    if "address" in given:
        link = socket.create_connection(given["address"].rsplit(":", 1))
        link.sendall(VERSION.encode() + b"\\n")
        said = link.makefile().readline().strip()
        if said == "early":
            sys.exit("Exception: No node info found for head node in GCS. Did the head node or gcs start successfully?")
        if said != VERSION:
            sys.exit("RuntimeError: Version mismatch: The cluster was started with: another")
        print("Ray runtime started.", flush=True)
        time.sleep(600)
    server, known = socket.create_server((given["node-ip-address"], int(given["port"]))), []
    while True:
        link = server.accept()[0]
        asked = link.makefile().readline().strip()
        if asked == "list":
            link.sendall(json.dumps(known).encode() + b"\\n")
        elif asked and not known:
            link.sendall(b"early\\n")
            known.append({"Alive": True})
        elif asked:
            link.sendall(VERSION.encode() + b"\\n")
            known.append({"Alive": asked == VERSION})
"""
SCRIPT = "import os, sys, time\nprint(os.environ['RAY_ADDRESS'], os.environ['GPUJOB_NODE_RANK'], flush=True)\n"


@pytest.fixture
def ray(tmp_path) -> str:
    """The folder of a stand-in for Ray."""
    for name, text in (("__init__", NODES), ("scripts/__init__", ""), ("scripts/scripts", PROGRAM)):
        path = tmp_path / f"stand-in/ray/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path / "stand-in")


@pytest.fixture
def run(pair: Pair, ray: str) -> Iterator[object]:
    """Submit a script with Ray to both nodes; whatever becomes of it, nothing of Ray is left."""
    numbers = []

    def submit(script: str, *other: dict[str, str]) -> int:
        port, number = 0, 0
        for rank, env in enumerate([{"PYTHONPATH": ray}, *other, {"PYTHONPATH": ray}][:2]):
            command = ("gpujob", "ray", "python", "-c", SCRIPT + script)
            reply = pair.submit_part(rank, number, port, *command, env=env, served=True)
            port, number = reply["port"], reply["job"]
        numbers.append(number)
        return number

    yield submit
    for node in pair.nodes:
        wait_for(lambda node=node: not node.processes(), "the end of all processes")
        assert not list(node.home.glob(".gpujob/jobs/*/ray"))
        assert not [link for link in Path("/tmp").glob("gpujob-ray-*") if str(node.home) in str(link.readlink())]
    assert numbers


def test_the_script_runs_on_node_0_once_ray_is_on_all_and_gives_the_exit_code(pair, run):
    number = run("sys.exit(5)")
    first, second = pair.wait(number)
    assert (first["state"], first["exit_code"], second["state"]) == ("failed", 5, "failed")
    assert first["reason"] == "node 0 (i-a) failed first"
    assert [word.split(":")[0] for word in pair.log(0, number).splitlines()[-1].split()] == [several.HOST, "0"]
    assert several.HOST not in pair.log(1, number)


def test_a_script_that_succeeds_ends_ray_everywhere_and_the_job_has_succeeded(pair, run):
    first, second = pair.wait(run(""))
    assert [first["state"], second["state"], first["exit_codes"]] == ["succeeded", "succeeded", [0, 0]]


def test_a_node_without_ray_fails_the_job_and_says_what_to_add(pair, run):
    number = run("", {})
    first, _ = pair.wait(number)
    assert (first["state"], first["exit_code"], first["reason"]) == ("failed", 1, "node 1 (i-b) failed first")
    assert (
        pair.log(1, number)
        .splitlines()[-1]
        .startswith("Ray is not installed on this node; add ray to requirements.txt")
    )


def test_another_version_of_ray_on_one_node_is_one_line_with_the_fix(pair, ray, run):
    number = run("time.sleep(600)", {"PYTHONPATH": ray, "STAND_IN": "2.9.3"})
    first, _ = pair.wait(number)
    assert (first["state"], first["reason"]) == ("failed", "node 1 (i-b) failed first")
    assert (
        pair.log(1, number).splitlines()[-1].startswith("Ray or Python has another version here than on node 0; pin it")
    )


def test_a_cancel_ends_ray_on_both_nodes(pair, run):
    number = run("time.sleep(600)")
    wait_for(lambda: several.HOST in pair.log(0, number), "the start of the script")
    assert json.loads(pair.nodes[0].ask("cancel", str(number)))["state"] == "cancelled"
    pair.wait(number)


@pytest.mark.parametrize("who", ["script", "launcher"])
def test_whatever_is_killed_on_node_0_nothing_of_ray_is_left(pair, run, who):
    number = run("print(os.getpid(), flush=True); time.sleep(600)")
    wait_for(lambda: len(pair.log(0, number).split()) == 3, "the start of the script")
    kill(int(pair.log(0, number).split()[-1]) if who == "script" else pair.nodes[0].identity(number, "main"))
    first, _ = pair.wait(number)
    assert (first["state"], first["exit_code"]) == ("failed", 128 + signal.SIGKILL)


def test_a_worker_that_is_lost_ends_the_job_and_names_its_node(pair, run):
    number = run("time.sleep(600)")
    wait_for(lambda: several.HOST in pair.log(0, number), "the start of the script")
    kill(next(iter(pair.nodes[1].processes("start"))))
    first, _ = pair.wait(number)
    assert (first["state"], first["reason"]) == ("failed", "node 1 (i-b) failed first")
    assert pair.log(1, number).splitlines()[-1] == "Ray ended on node 1: Ray runtime started."
