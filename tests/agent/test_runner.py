"""A job outlives whoever minds it, and what nobody saw end is never called a success. The SIGKILLs are real."""

import contextlib
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node, kill
from tests.conftest import wait_for

node = fixtures.node

GATE = "while [ ! -e ../go ]; do sleep 0.02; done; echo through; exit 5"


def open_gate(node: Node, number: int) -> None:
    (node.home / f".gpujob/work/{number}/go").touch()


@pytest.fixture
def gated(node: Node) -> int:
    """A job that runs until its gate is opened, and then exits with 5."""
    number = node.submit("sh", "-c", GATE)
    node.identity(number, "main")
    return number


def held_by(path: Path) -> bool:
    """Whether somebody holds a lock."""
    import fcntl

    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("killed", ["supervisor", "runner"])
def test_a_job_goes_on_without_its_supervisor_or_its_runner_and_its_exit_code_is_told(node, gated, killed):
    main = node.identity(gated, "main")
    kill(node.identity(gated, killed))
    assert node.record(gated)["state"] == "running"
    assert psutil.pid_exists(main)
    open_gate(node, gated)
    record = node.wait(gated)
    assert (record["state"], record["exit_code"]) == ("failed", 5)
    assert node.ask("logs", str(gated), "0") == b"through\n"


def test_the_next_call_gives_a_job_that_lost_its_supervisor_another_one_and_only_one(node, gated):
    watched = node.home / f".gpujob/jobs/{gated}/watched"
    wait_for(lambda: held_by(watched), "supervisor")
    for _ in range(2):  # the second time it is the respawned one that is killed
        minders = {*node.processes("supervise"), *node.processes("watch")}
        [watcher] = minders - {node.identity(gated, "runner")}
        kill(watcher)
        assert not held_by(watched)
        for _ in range(2):
            node.record(gated)
        wait_for(lambda: held_by(watched), "respawn")
        assert len(node.processes("watch")) == 1
    open_gate(node, gated)
    assert node.wait(gated)["exit_code"] == 5
    wait_for(lambda: not node.processes(), "end of all that minded it")


def test_a_job_that_lost_both_runs_on_and_counts_as_interrupted_since_nobody_saw_it_end(node, gated):
    supervisor, runner = (node.identity(gated, who) for who in ("supervisor", "runner"))
    os.kill(supervisor, signal.SIGSTOP)  # so that it cannot step in
    kill(runner)
    kill(supervisor)
    assert node.record(gated)["state"] == "running"
    open_gate(node, gated)
    record = node.wait(gated)
    assert (record["state"], record["exit_code"]) == ("interrupted", None)
    assert node.ask("logs", str(gated), "0") == b"through\n"


@pytest.mark.parametrize("killed", [["supervisor"], ["runner"], ["runner", "supervisor"]])
def test_a_job_can_be_cancelled_whoever_of_those_who_mind_it_was_killed(node, gated, killed):
    pids = [node.identity(gated, who) for who in killed]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        kill(pid)
    main = node.identity(gated, "main")
    node.record(gated)
    record = json.loads(node.ask("cancel", str(gated)))
    assert (record["state"], record["exit_code"]) == ("cancelled", 128 + signal.SIGTERM)
    assert not psutil.pid_exists(main) or psutil.Process(main).status() == psutil.STATUS_ZOMBIE


def test_a_job_that_an_earlier_agent_started_is_recovered_and_cancelled(node, gated):
    folder = node.home / f".gpujob/jobs/{gated}"
    supervisor, runner = (node.identity(gated, who) for who in ("supervisor", "runner"))
    record = json.loads((folder / "runner.json").read_text())
    (folder / "runner.json").unlink()
    (folder / "keeper.json").write_text(json.dumps({"keeper": record["runner"], "main": record["main"]}))
    kill(supervisor)
    assert node.record(gated)["state"] == "running"
    wait_for(lambda: node.processes("watch"), "respawn")
    [respawned] = node.processes("watch")
    kill(runner)
    wait_for(lambda: json.loads((folder / "keeper.json").read_text()).get("runner", [0])[0] == respawned, "takeover")
    assert json.loads(node.ask("look", "1"))["jobs"][0]["job"]["state"] == "running"
    assert json.loads(node.ask("cancel", str(gated)))["state"] == "cancelled"


def test_a_time_limit_holds_without_a_supervisor(node):
    number = node.submit("sleep", "600", time_limit_s=2)
    node.identity(number, "main")
    kill(node.identity(number, "supervisor"))
    assert node.wait(number)["reason"] == "its time limit of 2 s was reached"


def test_after_a_reboot_a_job_is_interrupted_though_its_process_numbers_live_on_as_others(node, gated):
    supervisor, runner, main = (node.identity(gated, who) for who in ("supervisor", "runner", "main"))
    family = psutil.Process(main).children(recursive=True)
    for pid in (supervisor, runner):
        os.kill(pid, signal.SIGSTOP)
    for pid in (supervisor, runner, main, *(child.pid for child in family)):
        with contextlib.suppress(ProcessLookupError):
            kill(pid)
    record = node.home / f".gpujob/jobs/{gated}/runner.json"
    ours = psutil.Process(os.getpid())
    stat = Path(f"/proc/{ours.pid}/stat").read_text().rpartition(")")[2].split()
    record.write_text(json.dumps({who: [ours.pid, stat[19], "the boot before"] for who in ("runner", "main")}))
    assert node.record(gated)["state"] == "interrupted"
    assert node.submit("true", token="next") == gated + 1
    assert node.wait(gated + 1)["state"] == "succeeded"
    assert node.record(gated)["exit_code"] is None


def test_a_job_killed_while_it_waits_in_line_is_interrupted_and_its_number_is_not_used_again(node):
    first, second = (node.submit("sleep", "600", token=t, gpus=None) for t in "ab")
    kill(node.identity(second, "supervisor"))
    assert node.record(second)["state"] == "interrupted"
    assert node.submit("true", token="c", gpus=0) == second + 1
    node.ask("cancel", str(first))
    assert node.wait(second + 1)["state"] == "succeeded"


def test_a_job_that_shuts_its_output_forks_daemons_and_removes_its_folder_ends_with_its_code_and_leaves_nobody(node):
    script = (
        "exec >&- 2>&-; (setsid sleep 600 &) ; (trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; sleep 601' &);"
        ' sleep 0.2; rm -rf "$PWD"; exit 7'
    )
    number = node.submit("sh", "-c", script)
    assert (node.wait(number)["exit_code"], node.record(number)["log_bytes"]) == (7, 0)
    assert json.loads(node.ask("outputs", str(number)))["outputs"] == []
    wait_for(lambda: not node.processes(), "end of its daemons")


def test_much_output_and_a_line_without_an_end_arrive_to_the_byte(node):
    size = int(os.environ.get("GPUJOB_TEST_LOG_MB", "32")) * 1_000_000
    number = node.submit("sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x; printf end")
    node.wait(number)
    assert node.record(number)["log_bytes"] == size + 3
    follower = node.start("logs", str(number), "0", "--follow")
    assert follower.communicate(timeout=120)[0] == b"x" * size + b"end"
