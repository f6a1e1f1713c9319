"""The guard's rules, minute by minute on a clock of the test's own: when a machine ends, and whom it warns."""

import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from infra.node.agent.node import guard as guarding

LEASE_S, IDLE_S, WARNING_S = 3600.0, 600.0, 120.0


class MachineOff(Exception):  # noqa: N818  it is no error
    """The machine has ended."""


@dataclass
class Machine:
    """What the guard sees, as a function of the seconds since it began."""

    now_s: float = 0.0
    busy: object = staticmethod(lambda now_s: False)
    jobs: object = staticmethod(lambda now_s: ())
    lease_s: float = LEASE_S
    steps: list[float] = field(default_factory=list)
    warned: list[tuple[float, set[int], str]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.steps.append(seconds)
        self.now_s += seconds
        if self.now_s > 10 * LEASE_S:
            raise MachineOff("never")

    def warn(self, jobs: set[int], reason: str) -> set[int]:
        if jobs:
            self.warned.append((self.now_s, jobs, reason))
        return jobs

    def power_off(self, reason: str) -> None:
        raise MachineOff(reason)

    def run(self, idle_s: float = IDLE_S) -> tuple[float, str]:
        """Guard it to its end; return when that was, and why."""
        with pytest.raises(MachineOff) as end:
            guarding.guard(str(idle_s), str(WARNING_S))
        return self.now_s, str(end.value)


@pytest.fixture
def machine(monkeypatch) -> Machine:
    """A machine that nothing uses."""
    made = Machine()
    epoch = 1.8e9
    monkeypatch.setattr(guarding.time, "time", lambda: epoch + made.now_s)
    monkeypatch.setattr(guarding.time, "monotonic", lambda: 5000 + made.now_s)
    monkeypatch.setattr(guarding.time, "sleep", made.sleep)
    monkeypatch.setattr(guarding, "lease_end", lambda: epoch + made.lease_s)
    monkeypatch.setattr(guarding, "is_busy", lambda: made.busy(made.now_s))
    monkeypatch.setattr(guarding, "running_jobs", lambda: list(made.jobs(made.now_s)))
    monkeypatch.setattr(guarding, "read_notice", lambda: "")
    monkeypatch.setattr(guarding, "Leftovers", lambda idle_s: SimpleNamespace(work=lambda: False))
    monkeypatch.setattr(guarding, "warn", made.warn)
    monkeypatch.setattr(guarding, "power_off", made.power_off)
    return made


def test_an_idle_machine_ends_when_it_was_idle_for_as_long_as_it_may_be(machine):
    ended_s, reason = machine.run()
    assert ended_s == IDLE_S
    assert "600 s" in reason


def test_use_begins_the_count_again(machine):
    machine.busy = lambda now_s: now_s <= 700
    assert machine.run()[0] == 700 + IDLE_S


def test_use_of_another_node_of_the_cluster_begins_the_count_again(machine, monkeypatch):
    told = SimpleNamespace(exchange=lambda busy: machine.now_s <= 700)
    monkeypatch.setattr(guarding, "Neighbours", lambda: told)
    assert machine.run()[0] == 700 + IDLE_S


def test_without_a_limit_an_idle_machine_lives_until_its_lease_ends(machine):
    ended_s, reason = machine.run(idle_s=0)
    assert ended_s == LEASE_S
    assert "lease" in reason


def test_a_busy_machine_ends_with_its_lease(machine):
    machine.busy = lambda now_s: True
    assert machine.run()[0] == LEASE_S


def test_a_machine_that_cannot_tell_its_lease_is_left_to_its_timer(machine):
    machine.lease_s = float("inf")
    machine.busy = lambda now_s: True
    assert machine.run()[1] == "never"


def test_each_job_is_warned_once_before_the_lease_ends_those_that_come_later_too(machine):
    machine.busy = lambda now_s: True
    machine.jobs = lambda now_s: {1, 2} if now_s < LEASE_S - 60 else {1, 2, 3}
    machine.run()
    assert [(when, jobs) for when, jobs, _ in machine.warned] == [(LEASE_S - WARNING_S, {1, 2}), (LEASE_S - 60, {3})]
    assert all("lease" in reason for _, _, reason in machine.warned)


def test_a_job_whose_lease_was_extended_after_its_warning_is_warned_again_before_the_new_end(machine, monkeypatch):
    machine.busy, machine.jobs = (lambda now_s: True), (lambda now_s: {1})
    extended_s, lease_end = LEASE_S - 60, guarding.lease_end

    def read_lease() -> float:
        machine.lease_s = 2 * LEASE_S if machine.now_s >= extended_s else LEASE_S
        return lease_end()

    monkeypatch.setattr(guarding, "lease_end", read_lease)
    assert machine.run()[0] == 2 * LEASE_S
    assert [(when, jobs) for when, jobs, _ in machine.warned] == [
        (LEASE_S - WARNING_S, {1}),
        (2 * LEASE_S - WARNING_S, {1}),
    ]


def test_jobs_are_warned_as_soon_as_the_spot_market_gives_notice(machine, monkeypatch):
    machine.busy, machine.jobs = (lambda now_s: True), (lambda now_s: {1})
    monkeypatch.setattr(guarding, "read_notice", lambda: "12:00" if machine.now_s >= 1000 else "")
    machine.run()
    [(warned_s, jobs, reason)] = machine.warned
    assert (warned_s, jobs) == (1000, {1})
    assert "12:00" in reason


def test_a_job_that_was_warned_of_the_loss_of_another_node_is_not_warned_again(machine, monkeypatch, tmp_path):
    machine.busy, machine.jobs = (lambda now_s: True), (lambda now_s: {1, 2})
    monkeypatch.setattr(guarding, "read_notice", lambda: "12:00")
    monkeypatch.setattr(guarding, "JOBS", tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "preempted").touch()  # by what ties it to its other parts
    machine.run()
    assert machine.warned[0][1] == {2}
    assert not any(1 in jobs and "reclaims" in reason for _, jobs, reason in machine.warned)


def test_small_limits_are_looked_at_more_often(machine):
    machine.run(idle_s=10)
    assert set(machine.steps) == {2.0}
    assert machine.now_s == 10


def test_a_machine_with_outputs_jobs_a_connection_or_a_gpu_in_use_is_busy(monkeypatch, tmp_path):
    (tmp_path / "1").mkdir()
    signs = {"running_jobs": list, "is_connected": bool, "is_computing": bool}
    monkeypatch.setattr(guarding, "JOBS", tmp_path)
    monkeypatch.setattr(guarding, "numbers", lambda: [1])
    for name, nothing in signs.items():
        monkeypatch.setattr(guarding, name, nothing)
    assert guarding.is_busy(), "outputs of job 1 are on it"
    (tmp_path / "1" / "fetched").touch()
    assert not guarding.is_busy()
    for name, nothing in signs.items():
        monkeypatch.setattr(guarding, name, lambda: [1])
        assert guarding.is_busy(), name
        monkeypatch.setattr(guarding, name, nothing)


def test_a_connection_to_the_ssh_port_counts_and_a_server_that_waits_does_not(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(guarding, "SSH_PORT", port)
        assert not guarding.is_connected()
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            assert guarding.is_connected()
            monkeypatch.setattr(guarding, "SSH_PORT", port + 1 if port < 65535 else port - 1)
            assert not guarding.is_connected()


def test_a_warned_job_is_told_in_its_log_and_by_sigterm(monkeypatch, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (tmp_path / "7").mkdir()
        monkeypatch.setattr(guarding, "folder_of", lambda number: tmp_path / str(number))
        monkeypatch.setattr(guarding, "processes_of", lambda number: [process.pid])
        assert guarding.warn({7}, "the lease ends soon") == {7}
        assert process.wait(10) == -signal.SIGTERM
        assert "gpujob: the lease ends soon" in (tmp_path / "7" / "log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def sudo(monkeypatch, tmp_path):
    """Let sudo answer with this, and note what it was asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def answer(text: str) -> None:
        (tmp_path / "sudo").write_text(f'#!/bin/sh\nprintf "%s\\\\n" "$@" > {tmp_path}/asked\necho "{text}"\n')
        (tmp_path / "sudo").chmod(0o755)

    answer.asked = lambda: (tmp_path / "asked").read_text().splitlines()
    return answer


def test_the_machine_tells_the_end_of_its_lease(sudo):
    sudo("1893456000")
    assert guarding.lease_end() == 1893456000
    assert sudo.asked() == ["-n", "gpujob-lease"]


def test_a_machine_that_answers_nonsense_or_nothing_has_no_end_that_the_guard_knows(sudo, monkeypatch, tmp_path):
    sudo("sudo: a password is required")
    assert guarding.lease_end() == float("inf")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert guarding.lease_end() == float("inf")
    guarding.power_off("the end")  # nothing to call, and no crash that would end the guard


def test_the_machine_is_ended_by_shutdown_with_the_reason_in_one_word(sudo):
    sudo("")
    guarding.power_off("the lease has ended")
    assert sudo.asked() == ["-n", "shutdown", "-h", "now", "the lease has ended"]
