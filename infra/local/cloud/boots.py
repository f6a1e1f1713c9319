"""How instances boot, and what can go wrong: slow, invisible, silent, interrupted or failing boots."""

import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.ec2.tags import RANK_TAG
from infra.local.cloud import moto_state
from infra.local.cloud.faults import Faults

PENDING, RUNNING = ("pending", 0), ("running", 16)
# glibc would otherwise learn to keep freed buffers: a host that received 3 GB took 1.5 GB of memory. No job inherits it.
SMALL = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass
class Birth:
    """When an instance was launched or started, when it runs, and its faults, in monotonic seconds."""

    at_s: float
    boot_s: float
    dies_s: float | None
    runs_s: float | None = None


@dataclass
class Boots:
    """The boot state of each instance."""

    faults: Faults
    _births: dict[str, Birth] = field(default_factory=dict)
    _interruptions: dict[str, float] = field(default_factory=dict)
    """Epoch time at which each spot instance with a notice ends."""
    _ends: dict[str, float] = field(default_factory=dict)
    """Epoch time at which each instance of a Capacity Block ends."""

    def begin(self, instance: Any) -> None:
        """Register an instance that was just launched or started; the caller holds the cloud's lock."""
        boot_s = self.faults.number("boot") or 0.0
        self._births[instance.id] = Birth(time.monotonic(), boot_s, self.faults.number("dies"))
        if boot_s:
            moto_state.set_state(instance, *PENDING)

    def advance(self, instance: Any) -> bool:
        """Advance an instance to its current state; return whether its host may run."""
        birth = self._births.setdefault(instance.id, Birth(time.monotonic(), 0.0, None))
        age_s = time.monotonic() - birth.at_s
        if birth.dies_s is not None and age_s >= birth.dies_s:
            birth.dies_s = None
            moto_state.end(instance, "Server.InternalError", "Internal error on launch")
        if instance.state == "pending" and age_s >= birth.boot_s / 2:
            moto_state.set_state(instance, *RUNNING)
        if instance.state == "running" and birth.runs_s is None:
            birth.runs_s = time.monotonic()
        self._interrupt(instance)
        if time.time() >= self._ends.get(instance.id, math.inf):
            moto_state.end(instance, "Server.CapacityBlockEnded", "The Capacity Block of the instance ends")
        return instance.state == "running" and age_s >= birth.boot_s

    def end_at(self, instance_id: str, at: float) -> None:
        """End an instance at a time, as AWS does at the end of a Capacity Block."""
        self._ends[instance_id] = at

    def unseen(self) -> frozenset[str]:
        """Return the instances that are not reported yet."""
        wait_s = self.faults.number("invisible") or 0.0
        now = time.monotonic()
        return frozenset(one for one, birth in list(self._births.items()) if now - birth.at_s < wait_s)

    def speaks(self, instance_id: str) -> bool:
        """Return whether an instance has console output yet."""
        wait_s = self.faults.number("console") or 0.0
        birth = self._births.get(instance_id)
        return not wait_s or bool(birth and birth.runs_s and time.monotonic() - birth.runs_s >= wait_s)

    def is_frozen(self, instance: Any) -> bool:
        """Return whether an instance has stopped in the middle of everything."""
        ranks = self.faults.values("freeze")
        return bool(ranks) and rank_of(instance) in ranks

    def interruption(self, instance_id: str) -> str | None:
        """Return when an interrupted spot instance ends, in the metadata format; None without a notice."""
        ends = self._interruptions.get(instance_id)
        return None if ends is None else datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _interrupt(self, instance: Any) -> None:
        notice_s, _, rank = (self.faults.value("interrupt") or "").partition("@")
        if instance.lifecycle != "spot" or instance.state != "running":
            return
        if notice_s and (not rank or rank_of(instance) == rank):
            self._interruptions.setdefault(instance.id, time.time() + float(notice_s))
        if time.time() >= self._interruptions.get(instance.id, math.inf):  # AWS takes no notice back
            moto_state.end(instance, "Server.SpotInstanceTermination", "Instance terminated by the spot market")


def rank_of(instance: Any) -> str | None:
    """Return the rank that an instance is tagged with, as text."""
    return moto_state.tags(instance.region_name, instance.id).get(RANK_TAG)


def spawn(config: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the host that a config file describes; its standard input and output are pipes."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.local.machine.host", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(lock,),  # the cloud's lock is free once all hosts have exited
        env={**os.environ, **SMALL},
    )
