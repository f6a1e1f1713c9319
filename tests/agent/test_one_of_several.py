"""A job over two nodes of which one is unlike the other: its disk is full, its clock is wrong, its agent is killed early."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from infra.model import Dependencies
from infra.node.agent.muster import port
from infra.node.agent.muster.failures import read_failure
from infra.node.agent.records import AgentError
from tests.agent import test_several_nodes as several
from tests.agent.test_several_nodes import HOST, SLEEP, SLOW_UV, Pair
from tests.agent_fixtures import Node, install, kill
from tests.conftest import wait_for

pair = several.pair
FILL = """
def fill():
    with open('fill.bin', 'wb', buffering=0) as file:
        while file.write(bytes(4096)):
            pass
"""
# Node 0's process ends first: it misses the other at once, which cannot write that it has failed.
FILLED = (
    FILL
    + """
if rank:
    try:
        fill()
    except OSError:
        open(os.environ['MARK'], 'w').close()
        time.sleep(0.3)
        raise
while not os.path.exists(os.environ['MARK']):
    time.sleep(0.02)
sys.exit(1)
"""
)
SWALLOWED = (
    FILL
    + """
if rank:
    try:
        fill()
    except OSError:
        print('x' * 9999, flush=True)
        time.sleep(0.5)
        os.unlink('fill.bin')
        print('back')
"""
)
# Stands in place of the interpreter: the agent's wall clock is off by as many seconds as a file says at that moment.
CLOCK = """#!/bin/sh
[ "$1" = -I ] || exec {python} "$@"
shift 2
exec {python} -I -S -c '
import runpy, sys, time
real = time.time
time.time = lambda: real() + float(open("{clock}").read())
sys.executable = "{wrapper}"
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""
JUMP_S = 3600


@pytest.fixture
def cramped(pair: Pair) -> Iterator[Pair]:
    """The nodes; the disk of node 1 is small."""
    home = pair.nodes[1].home
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that takes root")
    install(home, pair.nodes[1].python)
    yield pair
    pair.nodes[1].power_off()
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def test_a_node_whose_disk_the_job_has_filled_is_named_even_if_another_part_fails_before_it(cramped, tmp_path):
    number = cramped.python(FILLED, secrets={"MARK": str(tmp_path / "mark")})
    first, _ = cramped.wait(number)
    assert (first["state"], first["exit_code"], first["failed_node"]) == ("failed", 1, 1)
    assert first["reason"].startswith("node 1 (i-b): No space left on device: 0 MB of 12 MB are free"), first["reason"]


def test_output_that_found_no_space_is_said_to_be_missing_once_there_is_some(cramped):
    number = cramped.python(SWALLOWED, secrets={"TOKEN": "long enough"})
    assert [record["state"] for record in cramped.wait(number)] == ["succeeded", "succeeded"]
    *_, note, last = cramped.log(1, number).splitlines()
    assert note.startswith("gpujob: ")
    assert note.endswith(" bytes of output are missing here, because the disk was full")
    assert last == "back"


def with_clock(node: Node, ahead_s: float) -> Node:
    """A node whose wall clock is wrong by as much as the file `clock` in its home says."""
    wrapper, clock = node.home / "python", node.home / "clock"
    clock.write_text(str(ahead_s))
    wrapper.write_text(CLOCK.format(python=node.python, clock=clock, wrapper=wrapper))
    wrapper.chmod(0o755)
    return Node(node.home, str(wrapper))


def set_clock(node: Node, ahead_s: float) -> None:
    (node.home / "new").write_text(str(ahead_s))
    (node.home / "new").replace(node.home / "clock")


@pytest.mark.parametrize("ahead_s", [JUMP_S, -JUMP_S])
def test_neither_the_start_of_a_job_nor_what_failed_first_nor_its_duration_depends_on_the_clocks(pair, ahead_s):
    pair = Pair((pair.nodes[0], with_clock(pair.nodes[1], ahead_s)))
    number = pair.python(
        "print('here', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)\nsys.exit(7 + rank)"
    )
    for rank in (0, 1):
        wait_for(lambda rank=rank: "here" in pair.log(rank, number), "the start of the script")
    shown = pair.nodes[1].record(number)
    assert abs(shown["now"] - ahead_s - time.time()) < 60, "its clock is not the one that this test has set"
    set_clock(pair.nodes[1], -ahead_s)
    for rank in (1, 0):
        (pair.nodes[rank].home / f".gpujob/work/{number}/project/go").touch()
        wait_for(lambda rank=rank: not alive(pair.nodes[rank], number), "the end of a process")
    first, second = pair.wait(number)
    assert (first["exit_code"], first["reason"]) == (8, "node 1 (i-b) failed first")
    assert 0 <= second["seconds"] < 120
    assert pair.nodes[1].ask("since", str(number), "600") == b'{"offset": 0}'


def alive(node: Node, number: int) -> bool:
    return node.identity(number, "main") in node.processes()


@pytest.mark.parametrize("rank", [0, 1])
def test_an_agent_that_is_killed_while_it_installs_ends_the_job_on_the_other_node(pair, rank):
    home = pair.nodes[rank].home
    (home / "uv").write_text(SLOW_UV)
    (home / "uv").chmod(0o755)
    slow, plan = pair.change(rank, PATH=f"{home}:{os.environ['PATH']}"), asdict(Dependencies("r.txt", lines=("none",)))
    del plan["secrets"]
    reply = slow.submit_part(0, 0, 0, *SLEEP, dependencies=plan if rank == 0 else None)
    slow.submit_part(1, reply["job"], reply["port"], *SLEEP, dependencies=plan if rank else None)
    wait_for((home / "installing").exists, "the installation")
    kill(pair.nodes[rank].identity(reply["job"], "supervisor"))
    records = pair.wait(reply["job"])
    assert [record["state"] for record in records] == ["interrupted", "interrupted"]
    assert records[1 - rank]["reason"].startswith(f"node {rank} (i-{'ab'[rank]}) was lost"), records


@pytest.mark.parametrize("rank", [0, 1])
def test_a_part_without_any_process_of_ours_ends_the_job_and_its_command_with_the_next_question(pair, rank):
    number = pair.submit(*SLEEP)
    pair.wait_until_running(number)
    for who in ("supervisor", "runner"):
        kill(pair.nodes[rank].identity(number, who))
    other = pair.nodes[1 - rank].wait(number)
    assert (other["state"], other["reason"].partition(" was lost")[0]) == (
        "interrupted",
        f"node {rank} (i-{'ab'[rank]})",
    )
    wait_for(lambda: pair.nodes[rank].record(number)["state"] == "interrupted", "the end of the part")
    wait_for(lambda: not pair.nodes[rank].processes("sleep"), "the end of its command")


def test_torchrun_tells_which_rank_failed_and_with_which_error_and_the_job_which_node(pair):
    files = {
        "train.py": b"import os, time\nif os.environ['RANK'] == '1':\n    raise ValueError('bad batch')\ntime.sleep(600)\n"
    }
    number = pair.submit("torchrun", "train.py", files=files, python=sys.executable, no_deps=True)
    first, _ = pair.wait(number)
    assert (first["state"], first["exit_code"]) == ("failed", 1)
    assert first["reason"] == "node 1 (i-b) failed first", (first, pair.log(1, number))
    log = pair.log(1, number)
    assert "ValueError: bad batch" in log
    assert log.splitlines()[-1] == "gpujob: rank 1 failed first (exit 1)"
    noted = read_failure(pair.nodes[1].home / f".gpujob/jobs/{number}")
    assert noted, "torchrun did not note the failure in the space that is reserved for it"
    assert noted.code == 1


def test_two_jobs_at_once_have_ports_of_their_own(pair):
    serve = "import socket\nif not rank:\n  socket.create_server((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])))\n"
    wait = "print('port', os.environ['MASTER_PORT'], flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)"
    numbers = [pair.python(serve + wait, token=token) for token in "ab"]
    for number in numbers:
        wait_for(lambda number=number: "port" in pair.log(0, number), "the port of both")
    for number in numbers:
        for node in pair.nodes:
            wait_for((node.home / f".gpujob/work/{number}/project").exists, "its working tree")
            (node.home / f".gpujob/work/{number}/project/go").touch()
    assert {record["state"] for number in numbers for record in pair.wait(number)} == {"succeeded"}
    assert len({pair.log(0, number).splitlines()[-1] for number in numbers}) == 2


def test_a_port_that_another_program_has_is_not_chosen(monkeypatch):
    with port.hold_port(HOST) as held:
        taken = held.getsockname()[1]
        monkeypatch.setattr(port, "PORTS", (taken, taken + 1001))
        assert taken < port.choose_port(HOST) <= taken + 1000
    monkeypatch.setattr(port.random, "sample", lambda *_: [1])
    monkeypatch.setattr(port.socket.socket, "bind", refuse)
    with pytest.raises(AgentError, match="no free port"):
        port.choose_port(HOST)


def refuse(*_: object) -> None:
    raise OSError
