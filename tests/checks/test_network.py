"""The network between two nodes: measured by their agents, for nobody else, and judged by what AWS promises."""

import json
import socket
import subprocess

import pytest

from infra.checks.network import judge_way
from infra.node.measures import Way
from tests import agent_fixtures as fixtures

node = fixtures.node
HOST = "127.0.0.1"


def listen(node, key: str = "key") -> tuple["subprocess.Popen[bytes]", int]:
    process = node.start("network", HOST)
    process.stdin.write(f"{key}\n".encode())
    process.stdin.flush()
    return process, json.loads(process.stdout.readline())["port"]


def measure(process: "subprocess.Popen[bytes]", port: int) -> dict:
    out, err = process.communicate(json.dumps({"address": HOST, "port": port}).encode() + b"\n", timeout=90)
    assert process.returncode == 0, err
    return json.loads(out)


def test_the_way_to_another_node_is_measured_while_that_node_measures_too(node):
    (first, one), (second, two) = listen(node), listen(node)
    first.stdin.write(json.dumps({"address": HOST, "port": two}).encode() + b"\n")
    first.stdin.flush()
    both = [measure(second, one), json.loads(first.stdout.readline())]
    first.communicate(timeout=90)
    assert [found["error"] for found in both] == ["", ""]
    assert all(found["bytes_s"] > 1e7 and 0 < found["latency_s"] < 1 for found in both), both


def test_who_does_not_know_the_key_is_not_served_and_does_not_measure(node):
    (first, one), (second, _) = listen(node), listen(node, "another")
    with socket.create_connection((HOST, one), timeout=90) as stranger:
        assert len(stranger.recv(100)) == 32
        stranger.sendall(b"0" * 64 + b"s" + b"x" * 1000)
        with pytest.raises(ConnectionResetError):
            while stranger.recv(100):
                pass
            raise ConnectionResetError  # closed, and nothing was counted
    assert measure(second, one)["error"]
    first.communicate(timeout=90)


def test_a_port_that_refuses_is_explained_by_the_rule_that_is_missing(node):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    process, _ = listen(node)
    found = measure(process, port)
    verdict, said = judge_way(Way(**found), "to i-b", 5.0)
    assert verdict == "failed"
    assert said == "to i-b: [Errno 111] Connection refused; the security group must allow all traffic from itself"


def test_a_speed_far_below_what_the_machine_has_is_a_failure():
    assert judge_way(Way(1.2e9, 0.0001, ""), "to i-b", 10.0) == ("ok", "to i-b: 9.6 of 10 Gbit/s, 0.10 ms")
    assert judge_way(Way(0.1e9, 0.0001, ""), "to i-b", 10.0)[0] == "failed"
    assert judge_way(Way(0.1e9, 0.0001, ""), "to i-b", 0.0) == ("ok", "to i-b: 0.8 Gbit/s, 0.10 ms")
