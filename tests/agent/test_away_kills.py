"""Machines of a sent job are killed at random moments: no finished work is lost, and no result is there twice."""

import itertools
import json
import random
import time

from tests import away_fixtures, s3
from tests.away_fixtures import Machine, Sending, count
from tests.conftest import wait_for

proxy, sending = s3.proxy, away_fixtures.sending

STEP_S = 0.1
REST_S = 1.0  # how long a file must have been left alone to count as complete
# A training that saves after each step to a new file, and goes on from the newest; what it did is noted outside the job.
TRAINING = b"""
import json, pathlib, sys, time
saved = sorted(pathlib.Path().glob("step-*.json"))
state = json.loads(saved[-1].read_text()) if saved else {"step": 0, "sum": 7}
notes = (pathlib.Path.home() / "notes").open("a")
while not (pathlib.Path.home() / "go").exists():
    time.sleep(float(sys.argv[1]))
    state = {"step": state["step"] + 1, "sum": (state["sum"] * 31 + state["step"]) % 1000003}
    name = "step-%05d.json" % state["step"]
    pathlib.Path(name + ".new").write_text(json.dumps(state))
    pathlib.Path(name + ".new").replace(name)
    print(time.time(), state["step"], file=notes, flush=True)
"""


def test_a_training_killed_at_random_moments_ends_as_one_that_never_was(sending: Sending) -> None:
    kill_at_random_moments(sending, kills=4, seed=0)


def test_each_of_many_tasks_has_one_result_though_a_machine_is_killed(sending: Sending) -> None:
    kill_among_tasks(sending, tasks=24, machines=3, kills=1)


def kill_at_random_moments(sending: Sending, kills: int, seed: int) -> tuple[int, float]:
    """Kill the machine of a training this often; return the last attempt, and the most seconds of work that were lost."""
    moments = random.Random(seed)
    published = note_manifests(sending)
    sending.send("python", "training.py", str(STEP_S), files={"training.py": TRAINING}, stale_s=0.3)
    lost_s = []
    for kill in range(kills):
        before, machine = find_step(sending), sending.boot()
        # One kill in four comes whenever it likes, even before there is an agent. After three attempts in a row that save
        # nothing new the job would end, so the others come once there is something.
        if kill % 4:
            wait_for(lambda before=before: find_step(sending) > before, "progress in the bucket")
        time.sleep(moments.uniform(0, 0.5 if kill % 4 else 2.5))
        machine.kill()
        lost_s.append(time.time() - find_lost(sending, machine, published))
    machine = sending.boot()
    before = find_step(sending)
    wait_for(lambda: find_step(sending) > before, "progress after the last kill")
    (machine.node.home / "go").touch()
    end = sending.end(timeout_s=120)
    steps = find_step(sending)
    assert (end["state"], end["exit_code"], end["complete"]) == ("succeeded", 0, True)
    assert json.loads(sending.output(f"step-{steps:05d}.json")) == count(steps)
    names = sorted(each["path"] for each in find_manifest(sending)["outputs"])
    assert names == [f"step-{step:05d}.json" for step in range(1, steps + 1)]
    assert "Traceback" not in "".join(one.said() for one in sending.machines)
    return end["attempt"], max(lost_s)


def note_manifests(sending: Sending) -> list[float]:
    """Return a list to which the time of each manifest that a machine writes is added."""
    published: list[float] = []

    def note(method: str, path: str) -> str:
        if method == "PUT" and path.endswith("/outputs.json"):
            published.append(time.time())
        return ""

    sending.proxy.rule = note
    return published


def find_lost(sending: Sending, machine: Machine, published: list[float]) -> float:
    """Return when the first step was saved that a killed machine did not upload, or now; it must have been recent.

    A round begins after the manifest of the one before: what was complete by then is in the bucket.
    """
    notes, found = machine.node.home / "notes", find_manifest(sending)
    saved = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    lost = [float(at) for at, step in saved if int(step) > newest(found)]
    if found and lost:
        before = max((at for at in published if at < found["written_at"]), default=0.0)
        assert min(lost) > before - REST_S
    return min(lost, default=time.time())


def find_manifest(sending: Sending) -> dict:
    """Return the manifest of the newest attempt that has one; an empty one without any."""
    last = (sending.get("tasks/0/claim") or {"attempt": 0})["attempt"]
    found = (sending.get(f"tasks/0/{attempt}/outputs.json") for attempt in range(last, 0, -1))
    return next(filter(None, found), {})


def newest(manifest: dict) -> int:
    """Return the newest step in a manifest."""
    return max((int(each["path"][5:10]) for each in manifest.get("outputs", ())), default=0)


def find_step(sending: Sending) -> int:
    """Return the newest step that the bucket has."""
    return newest(find_manifest(sending))


def kill_among_tasks(sending: Sending, tasks: int, machines: int, kills: int) -> None:
    """Kill some of the machines while they work on tasks; each task has one end and one result."""
    script = "echo $GPUJOB_TASK > result; echo $GPUJOB_TASK >> $HOME/ran"
    array = {"tasks": [{"index": task, "values": {}} for task in range(tasks)], "gpus": 1}
    sending.send("sh", "-c", script, files={}, tasks=tasks, array=array, stale_s=5.0)
    working = [sending.boot() for _ in range(machines)]
    ended: set[int] = set()

    def has_ended(share: int) -> bool:
        further = itertools.takewhile(lambda task: len(ended) < share, set(range(tasks)) - ended)
        ended.update(task for task in further if sending.get(f"tasks/{task}/end.json"))
        return len(ended) >= share

    for number, machine in enumerate(working[:kills], 1):
        wait_for(lambda share=number * tasks // (2 * machines): has_ended(share), "a part of the tasks", 600)
        machine.kill()
    ends = [sending.end(task, timeout_s=600) for task in range(tasks)]
    assert all((end["state"], end["exit_code"], end["complete"]) == ("succeeded", 0, True) for end in ends)
    assert [sending.output("result", task) for task in range(tasks)] == [b"%d\n" % task for task in range(tasks)]
    ran = [int(line) for one in working for line in (one.node.home / "ran").read_text().split()]
    assert set(ran) == set(range(tasks))
    # Only what a killed machine was at work on is run again.
    assert len(ran) - tasks <= kills
    wait_for(sending.is_empty, "the group's end")
