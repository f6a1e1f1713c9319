"""How an attempt of a sent job ended: what counts as success, as failure, and as neither."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.node.agent.away import attempts
from infra.node.agent.bucket.process import WARNED
from infra.node.agent.records import PREEMPTED

NOW, WARNING_S, FAR = 1.8e9, 120.0, 3600.0


@pytest.fixture
def find_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the function that says how an attempt ended, on a machine of the test's own."""

    def find(
        job: dict[str, Any],
        left_s: float = FAR,
        *,
        warned_s: float | None = None,
        preempted: bool = False,
        supervised: bool = False,
        claim: dict[str, bool] | None = None,
    ) -> str:
        """Return how it ended if it was warned so many seconds before its end, and the lease lasts so long."""
        if warned_s is not None:
            (tmp_path / WARNED).touch()
            os.utime(tmp_path / WARNED, (NOW - warned_s, NOW - warned_s))
        if preempted:
            (tmp_path / PREEMPTED).touch()
        monkeypatch.setattr(attempts, "folder_of", lambda number: tmp_path)
        monkeypatch.setattr(attempts, "is_supervised", lambda folder: supervised)
        monkeypatch.setattr(attempts, "apply_lease", lambda place: None)
        monkeypatch.setattr(attempts, "lease_end", lambda: NOW + left_s)
        monkeypatch.setattr(attempts.time, "time", lambda: NOW)
        held = SimpleNamespace(**{"lost": False, "stopped": False, "leaving": False, **(claim or {})})
        sent = SimpleNamespace(warning_s=WARNING_S)
        ended = {"number": 1, "state": "succeeded", "exit_code": 0, "reason": "", "ended_at": NOW}
        return attempts.find_kind(None, sent, held, {**ended, **job})

    return find


FAILED = {"state": "failed", "exit_code": 7}
BY_SIGTERM = {"state": "failed", "exit_code": 143}
AT_WORK = {"state": "running", "exit_code": None, "ended_at": None}


@pytest.mark.parametrize(
    ("job", "left_s", "about", "kind"),
    [
        ({}, FAR, {}, "succeeded"),
        (FAILED, FAR, {}, "failed"),
        # An unrequested SIGTERM comes from a machine that shuts down, unless the job says why it ended.
        (BY_SIGTERM, FAR, {}, "interrupted"),
        ({**BY_SIGTERM, "reason": "it exceeded its time limit"}, FAR, {}, "failed"),
        ({"state": "interrupted", "exit_code": None}, FAR, {}, "interrupted"),
        # What it does after a warning may be only that it saves.
        ({}, FAR, {"preempted": True}, "preempted"),
        (FAILED, FAR, {"preempted": True}, "preempted"),
        ({}, 100, {"warned_s": 20}, "lease"),
        (FAILED, 100, {"warned_s": 20}, "lease"),
        ({}, FAR, {"warned_s": 20}, "interrupted"),
        (FAILED, FAR, {"warned_s": 20}, "interrupted"),
        # The lease was extended, and the job took no notice of the warning.
        ({}, FAR, {"warned_s": 1000}, "succeeded"),
        (FAILED, FAR, {"warned_s": 1000}, "failed"),
        # It still runs, and may, or the machine is about to end.
        (AT_WORK, FAR, {"supervised": True}, ""),
        (AT_WORK, FAR, {"supervised": True, "warned_s": 20}, ""),
        (AT_WORK, 15, {"supervised": True, "warned_s": 105}, "lease"),
        (AT_WORK, FAR, {"supervised": True, "preempted": True}, "preempted"),
        # A task of another machine, or one that is free.
        ({}, FAR, {"claim": {"lost": True, "stopped": True}, "preempted": True}, "lost"),
        ({}, FAR, {"claim": {"stopped": True}, "preempted": True}, "cancelled"),
    ],
)
def test_an_attempt_ends_as_what_came_before_its_end_says(
    find_kind: Any, job: dict[str, Any], left_s: float, about: dict[str, Any], kind: str
) -> None:
    assert find_kind(job, left_s, **about) == kind
