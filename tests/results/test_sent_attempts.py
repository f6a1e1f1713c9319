"""A sent array takes and costs what all attempts of its tasks took, each machine's time counted once."""

import time
from typing import Any

from infra.ec2.storage.objects import Store
from infra.node.agent.bucket.layout import done_name
from infra.saved.search import list_saved
from tests import s3
from tests.agent.test_bucket import MACHINE
from tests.results.test_saved import JOB, make_group, put_many

proxy, store = s3.proxy, s3.store

HOUR_S, START = 3600.0, 1e9
FIRST, SECOND = "i-0123456789abcdef0", "i-0123456789abcdef1"
CLAIM = {"machine": FIRST, "attempt": 1, "beat": 1, "why": "", "fruitless": 0, "failures": 0, "number": 7, "mark": ""}
END = {"state": "succeeded", "exit_code": 0, "reason": "", "ended_at": 5.0, "complete": True}


def test_an_array_takes_what_all_attempts_took_on_each_of_its_machines(store: Store) -> None:
    """Three tasks share a machine; it is lost after an hour, and two of them run for another hour, on two machines."""
    lost = [{"machine": FIRST, "started_at": START, "seconds": HOUR_S}]
    tasks = [{"index": index, "values": {}} for index in range(3)]
    objects: dict[str, Any] = {
        "c/t/send.json": {"array": {"tasks": tasks, "gpus": 0}, "request": {"after": 6, "command": ["x"]}}
    }
    for task, machine in enumerate((FIRST, SECOND, SECOND)):
        place, attempt = f"c/t/tasks/{task}", 1 if machine == FIRST else 2
        began = START + (attempt - 1) * HOUR_S
        earlier = lost if attempt > 1 else []
        job = {**JOB, "state": "failed", "exit_code": 1, "started_at": began, "seconds": HOUR_S}
        objects |= {
            f"{place}/claim": {**CLAIM, "machine": machine, "attempt": attempt, "earlier": earlier},
            f"{place}/{attempt}/job.json": {"version": 1, "job": job, "cluster": {**MACHINE, "instance_id": machine}},
            f"{place}/end.json": {**END, "attempt": attempt, "state": "failed" if task == 2 else "succeeded"},
        }
        if task < 2:
            objects[f"{place}/{done_name(attempt, began, HOUR_S, machine)}"] = {}
    put_many(store, objects)
    make_group(store, "c", 0, time.time())
    [array] = list_saved(store, "c")
    assert (array.job.state, array.job.seconds) == ("failed", 2 * HOUR_S)
    assert (array.job.started_at, array.job.ended_at) == (START, START + 2 * HOUR_S)
    assert [each.seconds for each in array.tasks] == [HOUR_S] * 3  # of its last attempt, as its log is
