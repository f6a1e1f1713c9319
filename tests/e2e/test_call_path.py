"""How many calls to AWS `up` makes one after another: with 100 ms a call, ten of them are a second for everybody who waits."""

from typing import Any

from infra.local.cloud.server import control
from tests.cloudwatch import keep_alive, watch

MOST = 15  # of which some are pages: AWS lists 100 instance types, or prices, at once
LATENCY_S = 0.3  # so much longer than a call takes here that calls at the same time overlap
POLLED = ("DescribeInstances", "GetConsoleOutput")
"""Repeated until a machine runs and answers, which is the machine's time."""


def chain(events: list[dict[str, Any]]) -> list[str]:
    """Return the longest row of calls each of which began after the one before had ended."""
    row: list[str] = []
    ended_s = 0.0
    for event in sorted((one for one in events if not one["inner"]), key=lambda one: one["at_s"]):
        if event["at_s"] - LATENCY_S < ended_s:  # a call is recorded when its delay is over
            continue
        ended_s = event["at_s"]
        if not (row and row[-1] == event["action"] and event["action"] in POLLED):
            row.append(event["action"])
    return row


def test_up_makes_few_calls_in_a_row(laptop):
    laptop.type("check", "--dry-run")
    keep_alive(watch(laptop))
    cloud = watch(laptop).cloud
    control.clear_trail(cloud)
    control.add_faults(cloud, f"latency={LATENCY_S * 1000:g}")
    up = laptop.type("up", "--dry-run")
    assert up.code == 0, up.said
    row = chain(control.read_trail(cloud))
    control.clear_faults(cloud)
    assert "CreateFleet" in row
    assert 8 < len(row) <= MOST, row
