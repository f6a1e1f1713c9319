"""Sent jobs whose machines are killed again and again, and with many tasks; takes minutes."""

import json
import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests import away_fixtures, s3
from tests.away_fixtures import TIMES, Machine, Sending, count
from tests.conftest import wait_for

pytestmark = pytest.mark.timeout(900)
proxy, sending = s3.proxy, away_fixtures.sending

KILLS = int(os.environ.get("KILLS", "20"))
TASKS, MACHINES = int(os.environ.get("TASKS", "200")), 4
# A training that saves after each step to a new file, and goes on from the newest; what it did is noted outside the job.
TRAINING = b"""
import json, os, pathlib, sys, time
saved = sorted(pathlib.Path().glob("step-*.json"))
state = json.loads(saved[-1].read_text()) if saved else {"step": 0, "sum": 7}
notes = (pathlib.Path.home() / "notes").open("a")
print(json.dumps([time.time(), state["step"], "resumed"]), file=notes, flush=True)
while not (pathlib.Path.home() / "go").exists():
    time.sleep(0.3)
    state = {"step": state["step"] + 1, "sum": (state["sum"] * 31 + state["step"]) % 1000003}
    name = "step-%05d.json" % state["step"]
    pathlib.Path(name + ".new").write_text(json.dumps(state))
    pathlib.Path(name + ".new").replace(name)
    print(json.dumps([time.time(), state["step"], "saved"]), file=notes, flush=True)
"""


def read_notes(machine: Machine) -> list[tuple[float, int, str]]:
    path = machine.node.home / "notes"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_training_killed_at_random_moments_ends_as_one_that_never_was(sending: Sending) -> None:
    seed = int(os.environ.get("SEED", "0"))
    moments = random.Random(seed)
    sending.send("python", "training.py", files={"training.py": TRAINING}, stale_s=1.0, upload_s=0.5)
    lost_s, machine = [], sending.boot()
    saved_before = 0.0
    for kill in range(KILLS):
        # From before the agent is there to in the middle of the training: only one kill in four comes before a step is saved,
        # as a machine that is lost before it has saved anything three times in a row ends the job.
        if kill % 4:
            wait_for(
                lambda at=machine: (
                    any(what == "saved" for *_, what in read_notes(at)) or sending.get("tasks/0/end.json")
                ),
                "a step",
            )
            wait_for(
                lambda before=saved_before: progress(sending) > before or sending.get("tasks/0/end.json"),
                "progress in the bucket",
            )
        time.sleep(moments.uniform(0, 1.5))
        if sending.get("tasks/0/end.json"):
            break
        machine.kill()
        killed_at = time.time()
        saved_before = progress(sending)
        written = {step: at for one in sending.machines for at, step, what in read_notes(one) if what == "saved"}
        lost = [at for step, at in written.items() if step > saved_before]
        lost_s.append(killed_at - min(lost) if lost else 0.0)
        machine = sending.boot()
    (machine.node.home / "go").touch()
    end = sending.end(timeout_s=120)
    steps = int(progress(sending))
    sys.stderr.write(f"seed {seed}: {len(lost_s)} kills, attempt {end['attempt']}, lost at most {max(lost_s):.1f} s\n")
    assert (end["state"], end["exit_code"], len(lost_s)) == ("succeeded", 0, KILLS)
    assert json.loads(sending.output(f"step-{steps:05d}.json")) == count(steps)
    assert "Traceback" not in "".join(one.said() for one in sending.machines)
    # A period, what a file has to rest before it counts as complete, and the round itself, on a busy computer.
    assert max(lost_s) < TIMES["upload_s"] + 1 + 10


def progress(sending: Sending) -> float:
    """Return the newest step that the bucket has, of any attempt."""
    found = 0
    for key in sending.find_keys("tasks/0/"):
        if key.endswith("/outputs.json"):
            names = [each["path"] for each in sending.get(key)["outputs"]]
            found = max([found, *(int(name[5:10]) for name in names if name.endswith(".json"))])
    return found


def test_each_of_many_tasks_has_one_result_though_machines_are_killed(sending: Sending, tmp_path: Path) -> None:
    script = "echo $GPUJOB_TASK >> result; echo $GPUJOB_TASK >> $HOME/ran"
    sending.send("sh", "-c", script, files={}, tasks=TASKS)
    machines = [sending.boot() for _ in range(MACHINES)]
    for number, machine in enumerate(machines[:2], 1):
        wait_for(
            lambda share=number * TASKS // 4: sum(key.endswith("/end.json") for key in list_all(sending)) >= share,
            "a part of the tasks",
            600,
        )
        machine.kill()
    ends = [sending.end(task, timeout_s=600) for task in range(TASKS)]
    assert all((end["state"], end["exit_code"], end["complete"]) == ("succeeded", 0, True) for end in ends)
    assert [sending.output("result", task) for task in range(TASKS)] == [b"%d\n" % task for task in range(TASKS)]
    ran = [int(line) for one in machines for line in (one.node.home / "ran").read_text().split()]
    assert set(ran) == set(range(TASKS))
    # Only what a killed machine was at work on is run again.
    assert len(ran) - TASKS <= 2
    wait_for(sending.is_empty, "the group's end")


def list_all(sending: Sending) -> list[str]:
    """Return the keys of all objects: a listing has at most 1,000 at a time."""
    pages = sending.s3.get_paginator("list_objects_v2").paginate(Bucket=sending.name, Prefix=f"{sending.prefix}tasks/")
    return [one["Key"] for page in pages for one in page.get("Contents", ())]
