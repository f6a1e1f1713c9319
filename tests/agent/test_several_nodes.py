"""One job over two nodes: its parts start together, end together, and the job's end names the part that failed first."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest

from infra.model import Dependencies
from infra.node.agent.records import is_supervised
from tests.agent_fixtures import Node, install, interpreters, kill, request
from tests.conftest import wait_for

HOST = "127.0.0.1"
# Stands before uv on PATH: an installation that takes forever.
SLOW_UV = '#!/bin/sh\n[ "$1" = --version ] && echo "uv 1.0.0" && exit\ntouch "$HOME/installing"\nsleep 600\n'
SLEEP = ("sleep", "600")
RANKED = "import os, sys, time\nrank = int(os.environ['GPUJOB_NODE_RANK'])\n"


@dataclass(frozen=True)
class Changed(Node):
    """A node with variables of its own in its environment."""

    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.variables}


@dataclass(frozen=True)
class Pair:
    """Two nodes that reach each other."""

    nodes: tuple[Node, Node]

    def submit_part(self, rank: int, number: int, port: int, *command: str, **options: object) -> dict:
        part = {"rank": rank, "number": number, "port": port, "addresses": [HOST, HOST], "names": ["i-a", "i-b"]}
        part["served"] = bool(options.pop("served", False))
        token = str(options.pop("token", "t"))
        files = options.pop("files", {})
        options = {"key": f"key of {token}", **options}
        stdin = request(command, token, files, part=part, **options)
        return json.loads(self.nodes[rank].ask("submit", stdin=stdin).splitlines()[-1])

    def submit(self, *command: str, **options: object) -> int:
        reply = self.submit_part(0, 0, 0, *command, **options)
        assert self.submit_part(1, reply["job"], reply["port"], *command, **options)["job"] == reply["job"]
        return reply["job"]

    def change(self, rank: int, **variables: str) -> "Pair":
        """Return the same nodes, of which one has other variables in its environment."""
        nodes = [*self.nodes]
        nodes[rank] = Changed(nodes[rank].home, nodes[rank].python, variables)
        return Pair((nodes[0], nodes[1]))

    def python(self, script: str, **options: object) -> int:
        return self.submit("python", "-c", RANKED + script, **options)

    def wait(self, number: int) -> list[dict]:
        """Return the record of each part once both have ended, which is soon after the first."""
        return [node.wait(number) for node in self.nodes]

    def wait_until_running(self, number: int) -> list[int]:
        return [node.identity(number, "main") for node in self.nodes]

    def log(self, rank: int, number: int) -> str:
        return self.nodes[rank].ask("logs", str(number), "0").decode()


@pytest.fixture(params=interpreters())
def pair(request, tmp_path) -> Iterator[Pair]:
    nodes = []
    for name in ("a", "b"):
        home = tmp_path / name
        home.mkdir()
        install(home, request.param)
        nodes.append(Node(home, request.param))
    yield Pair((nodes[0], nodes[1]))
    for node in nodes:
        node.power_off()


def test_each_part_learns_where_the_others_are_and_success_is_that_of_all(pair):
    number = pair.python("print({k: v for k, v in os.environ.items() if k.startswith(('GPUJOB_N', 'MASTER', 'PET_'))})")
    records = pair.wait(number)
    assert [record["state"] for record in records] == ["succeeded", "succeeded"]
    assert (records[0]["nodes"], records[0]["exit_codes"]) == (2, [0, 0])
    told = [eval(pair.log(rank, number).splitlines()[-1]) for rank in (0, 1)]
    assert [each["GPUJOB_NODE_RANK"] for each in told] == ["0", "1"]
    assert {each["GPUJOB_NODES"] for each in told} == {"2"}
    assert {each["MASTER_ADDR"] for each in told} == {HOST}
    assert told[0]["MASTER_PORT"] == told[1]["MASTER_PORT"] != "0"
    for node in pair.nodes:
        kept = [path.read_bytes() for path in (node.home / ".gpujob/jobs").rglob("*") if path.is_file()]
        assert b"key of t" not in b"".join(kept)


def test_the_first_part_to_fail_ends_the_other_and_gives_its_exit_code(pair):
    number = pair.python("sys.exit(7) if rank else time.sleep(600)")
    first, second = pair.wait(number)
    assert (first["state"], first["exit_code"], first["reason"]) == ("failed", 7, "node 1 (i-b) failed first")
    assert (first["exit_codes"], second["exit_code"]) == ([143, 7], 7)


def test_a_part_that_fails_after_the_other_has_finished_fails_the_job(pair):
    number = pair.python("if rank:\n  time.sleep(1); sys.exit(3)")
    first, _ = pair.wait(number)
    assert (first["state"], first["exit_code"], first["exit_codes"]) == ("failed", 3, [0, 3])


def test_the_part_whose_process_failed_first_is_named_even_if_it_ends_after_another_that_missed_it(pair):
    late = (
        "open(os.environ['GPUJOB_FAILURE'], 'w').write('%r 1' % time.monotonic())\n"  # as torchrun does of a process
        "print('noted', flush=True)\ntime.sleep(600)"  # while it ends its other processes
    )
    number = pair.python(f"if rank:\n  time.sleep(1); sys.exit(1)\n{late}")
    first, _ = pair.wait(number)
    assert (first["reason"], first["exit_code"]) == ("node 0 (i-a) failed first", 1)
    number = pair.python("time.sleep(rank / 2)\nsys.exit(9 if rank else 1)", token="own code")
    first, _ = pair.wait(number)
    assert (first["reason"], first["exit_code"]) == ("node 1 (i-b) failed first", 9)


def test_a_machine_that_is_lost_just_after_another_part_failed_is_what_is_named(pair):
    number = pair.python("time.sleep(600) if rank else (time.sleep(1), sys.exit(1))")
    pair.wait_until_running(number)
    runner = pair.nodes[1].identity(number, "runner")
    wait_for(lambda: pair.nodes[0].identity(number, "main") not in pair.nodes[0].processes(), "failure of node 0")
    kill(runner)
    first, _ = pair.wait(number)
    assert (first["state"], first["reason"][:21]) == ("interrupted", "node 1 (i-b) was lost")


def test_the_port_for_the_job_is_kept_for_it_until_it_ends(pair):
    script = (
        "import socket\nif rank: sys.exit()\n"
        "place = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])\n"
        "try:\n  socket.socket().bind(place); print('taken')\n"
        "except OSError:\n  print('kept')\n"
        "socket.create_server(place); print('served')"
    )
    number = pair.python(script)
    assert pair.wait(number)[0]["state"] == "succeeded", pair.log(0, number)
    assert pair.log(0, number).splitlines()[-2:] == ["kept", "served"]


def test_another_torch_on_one_node_is_said_before_anything_starts(pair, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch-0.9.dist-info").mkdir()
    (tmp_path / "torch-0.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.9\n")
    number = pair.change(1, PYTHONPATH=str(tmp_path)).submit("torchrun", "train.py")
    first, second = pair.wait(number)
    assert (first["state"], first["exit_code"], second["reason"]) == ("failed", 1, first["reason"])
    assert re.fullmatch(
        r"torch differs: [\d.+a-z]+ on node 0 \(i-a\), 0.9 on node 1 \(i-b\)"
        r"|torch is missing on node 0 \(i-a\), while node 1 \(i-b\) has torch 0.9",
        first["reason"],
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_cancel_ends_all_parts_while_one_installs_its_dependencies(pair, rank):
    (pair.nodes[rank].home / "uv").write_text(SLOW_UV)
    (pair.nodes[rank].home / "uv").chmod(0o755)
    slow = pair.change(rank, PATH=f"{pair.nodes[rank].home}:{os.environ['PATH']}")
    plan = asdict(Dependencies("requirements.txt", lines=("nowhere",)))
    del plan["secrets"]
    reply = slow.submit_part(0, 0, 0, *SLEEP, dependencies=plan if rank == 0 else None)
    slow.submit_part(1, reply["job"], reply["port"], *SLEEP, dependencies=plan if rank else None)
    wait_for((pair.nodes[rank].home / "installing").exists, "the installation")
    assert json.loads(pair.nodes[0].ask("cancel", str(reply["job"])))["state"] == "cancelled"
    assert [record["state"] for record in pair.wait(reply["job"])] == ["cancelled", "cancelled"]
    assert not pair.nodes[rank].processes("sleep")


def test_a_job_that_never_reaches_the_other_node_says_so(pair):
    alone = pair.submit_part(0, 0, 0, *SLEEP)["job"]
    wait_for(lambda: "to which the job has not been submitted yet" in pair.log(0, alone), "the note in the log")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("who", ["supervisor", "runner"])
def test_a_killed_process_of_ours_neither_hangs_the_job_nor_lets_it_succeed(pair, rank, who):
    number = pair.submit(*SLEEP)
    mains = pair.wait_until_running(number)
    kill(pair.nodes[rank].identity(number, who))
    if who == "supervisor":  # the runner goes on, and hears of the others
        assert all(map(psutil.pid_exists, mains))
        pair.nodes[0].ask("cancel", str(number))
    first, second = pair.wait(number)
    expected = "cancelled" if who == "supervisor" else "interrupted"
    assert (first["state"], second["state"]) == (expected, expected)
    if who == "runner":
        assert first["exit_code"] is None
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in mains)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_machine_that_is_gone_ends_the_job_on_the_other(pair, rank):
    number = pair.submit(*SLEEP)
    pair.wait_until_running(number)
    pair.nodes[rank].power_off()
    record = pair.nodes[1 - rank].wait(number)
    assert (record["state"], record["exit_code"] in (None, 143)) == ("interrupted", True)
    assert record["reason"].startswith(f"node {rank} (i-{'ab'[rank]}) ")


def test_a_machine_that_freezes_is_named_and_ends_the_job(pair):
    number = pair.submit(*SLEEP)
    pair.wait_until_running(number)
    for pid in pair.nodes[1].processes():
        os.kill(pid, signal.SIGSTOP)
    record = pair.nodes[0].wait(number)
    assert (record["state"], record["reason"]) == ("interrupted", "node 1 (i-b) was not heard of for 30 s")
    for pid in pair.nodes[1].processes():
        os.kill(pid, signal.SIGCONT)
    assert pair.nodes[1].wait(number)["state"] == "interrupted"


def test_a_cancel_ends_all_parts_whatever_the_job_is_doing(pair):
    running = pair.submit(*SLEEP)
    pair.wait_until_running(running)
    queued = pair.submit(*SLEEP, token="u", gpus=1)
    alone = pair.submit_part(0, 0, 0, *SLEEP, token="v")["job"]  # its other part never comes
    wait_for(lambda: "waiting for node 1 (i-b)" in pair.log(0, alone), "the wait for the other part")
    for number in (queued, alone, running):
        assert json.loads(pair.nodes[0].ask("cancel", str(number)))["state"] == "cancelled"
    for number in (queued, running):
        pair.wait(number)
    assert pair.nodes[1].record(running)["state"] == "cancelled"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_part_that_cannot_be_prepared_fails_the_job_and_is_named(pair, rank):
    needs = [{"earlier": {"job": 99, "over": True}} if rank == part else {} for part in (0, 1)]
    reply = pair.submit_part(0, 0, 0, *SLEEP, **needs[0])
    pair.submit_part(1, reply["job"], reply["port"], *SLEEP, **needs[1])
    first, second = pair.wait(reply["job"])
    assert (first["state"], first["exit_code"]) == ("failed", 1)
    assert first["reason"] == f"node {rank} (i-{'ab'[rank]}): job 99, whose outputs it needs, was removed"
    assert second["state"] == "failed"


def test_jobs_that_reach_the_nodes_in_different_orders_run_one_after_the_other(pair):
    replies = [pair.submit_part(0, 0, 0, "sleep", "0.2", token=token, gpus=1) for token in "ab"]
    for token, reply in reversed([*zip("ab", replies, strict=True)]):
        pair.submit_part(1, reply["job"], reply["port"], "sleep", "0.2", token=token, gpus=1)
    for reply in replies:
        assert [record["state"] for record in pair.wait(reply["job"])] == ["succeeded", "succeeded"]
    records = [pair.nodes[0].record(reply["job"]) for reply in replies]
    assert records[0]["ended_at"] <= records[1]["started_at"] + 0.1


def test_a_part_that_waits_for_its_turn_takes_little_memory(pair):
    ahead = pair.nodes[0].submit(*SLEEP, token="ahead", gpus=1)
    number = pair.submit(*SLEEP, gpus=1)

    def small() -> bool:
        process = psutil.Process(pair.nodes[1].identity(number, "supervisor"))
        return process.name() in ("sh", "dash", "bash") and process.memory_info().rss <= 3 << 20

    wait_for(small, "a small process")
    pair.nodes[0].ask("cancel", str(ahead))
    pair.wait_until_running(number)


def test_a_stranger_neither_joins_nor_disturbs_a_job(pair):
    reply = pair.submit_part(0, 0, 0, *SLEEP)
    wait_for(lambda: "waiting for node 1 (i-b)" in pair.log(0, reply["job"]), "the wait for the other part")
    with socket.create_connection((HOST, reply["port"])) as stranger:
        nonce = stranger.recv(100)
        assert nonce.startswith(b"\n")
        stranger.sendall(b"0" * 64 + b' {"rank": 1, "nonce": ""}\n')
        assert stranger.recv(100) == b""
    pair.submit_part(1, reply["job"], reply["port"], *SLEEP, key="wrong")
    assert pair.nodes[1].wait(reply["job"])["state"] == "interrupted"
    assert is_supervised(Path(pair.nodes[0].home, f".gpujob/jobs/{reply['job']}"))


def test_a_time_limit_ends_all_parts(pair):
    first, second = pair.wait(pair.submit(*SLEEP, time_limit_s=1))
    assert (first["state"], first["reason"]) == ("failed", "its time limit of 1 s was reached")
    assert second["state"] == "failed"


def test_a_spot_notice_on_one_node_reaches_the_job_on_all(pair):
    script = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('here')\ntime.sleep(600)"
    number = pair.python(script)
    for rank in (0, 1):
        wait_for(lambda rank=rank: "here" in pair.log(rank, number), "the start of the script")
    (pair.nodes[1].home / f".gpujob/jobs/{number}/preempted").touch()  # as the guard does
    wait_for(lambda: "AWS reclaims node 1 (i-b)" in pair.log(0, number), "the warning")
    os.kill(pair.nodes[1].identity(number, "main"), signal.SIGTERM)
    first, _ = pair.wait(number)
    assert (first["exit_codes"], first["preempted"]) == ([0, 0], True)


def test_a_job_whose_other_part_never_comes_lets_later_ones_pass_and_is_not_lost_if_it_comes_after_all(pair):
    half = pair.submit_part(0, 0, 0, "true", gpus=1)
    later = pair.submit("true", token="later", gpus=1)
    assert [record["state"] for record in pair.wait(later)] == ["succeeded", "succeeded"]
    assert pair.nodes[0].record(half["job"])["state"] == "queued"
    pair.submit_part(1, half["job"], half["port"], "true", gpus=1)
    assert [record["state"] for record in pair.wait(half["job"])] == ["succeeded", "succeeded"]
