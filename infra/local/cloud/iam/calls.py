"""Faults that happen before a call reaches the cloud: latency, throttling, expiry, denial, kills."""

import os
import random
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.iam import permissions
from infra.local.cloud.iam.callers import Callers
from infra.local.cloud.request import Environ, Request


@dataclass(frozen=True)
class Calls:
    """Count calls and apply the active faults to them."""

    faults: Faults
    callers: Callers
    _counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _dice: dict[str, random.Random] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Reset the counters and the random numbers."""
        with self._lock:
            self._counts.clear()
            self._dice.clear()

    def count(self, environ: Environ, action: str) -> set[str]:
        """Count a call for each process to be killed, if it is the caller; return the faults due now."""
        due = set()
        for fault in self.faults.values("kill"):
            pid, call, _ = fault.split(":")
            named, _, number = call.partition(".") if call[0].isalpha() else ("", "", call)
            if named in ("", action) and _is_caller(int(pid), environ) and self._count(fault) == int(number or 1):
                due.add(fault)
        return due

    def kill(self, due: set[str], when: str) -> bool:
        """Kill the caller if a kill is due; return whether it was."""
        pids = [int(fault.split(":")[0]) for fault in due if fault.endswith(f":{when}")]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def refuse(self, request: Request) -> Answer | None:
        """Delay a call, then return its error if a fault fails it; None to continue."""
        slow = dict(value.split(":") for value in self.faults.values("slow"))
        time.sleep((self.faults.number("latency") or 0) / 1000 + float(slow.get(request.region, 0)))
        if self._has_expired(request.action):
            return refuse_expired(request.service)
        if request.region in self.faults.values("closed"):
            return permissions.deny_region(request)
        if self.faults.values("enabled") and request.region not in self.faults.values("enabled"):
            return permissions.deny_disabled_region(request)
        denied = set(permissions.actions_of(request)) & set(self.faults.values("denied"))
        need = permissions.need_of(request, min(denied)) if denied else self.callers.find_denied(request)
        if need:
            return permissions.deny(request, need, self.callers.name_caller(request))
        if self._throw("throttle"):
            code = "RequestLimitExceeded" if request.service == "ec2" else "ThrottlingException"
            return error(request.service, code, "Request limit exceeded.", 503 if request.service == "ec2" else 400)
        if request.service == "s3" and self._throw("busy"):
            return error("s3", "SlowDown", "Please reduce your request rate.", 503)
        if self._throw("errors"):
            return error(request.service, "InternalError", "An internal error has occurred", 500)
        return None

    def _has_expired(self, action: str) -> bool:
        last = self.faults.value("expired-after") or ""
        if last.isdigit():
            return self._count("expired-after") > int(last)
        over = self._counts["expired-after"] > 0
        if action == last:
            self._count("expired-after")
        return bool(last) and over

    def _count(self, name: str) -> int:
        with self._lock:
            self._counts[name] += 1
            return self._counts[name]

    def _throw(self, word: str) -> bool:
        value = self.faults.value(word)
        if value is None:
            return False
        percent, _, seed = value.partition(":")
        with self._lock:
            die = self._dice.setdefault(f"{word}={value}", random.Random(int(seed or 0)))  # noqa: S311  not for secrets
            return die.random() * 100 < float(percent)


def refuse_expired(service: str) -> Answer:
    """Refuse credentials that have expired."""
    if service == "ec2":
        return error(service, "RequestExpired", "Request has expired.")
    code = "ExpiredToken" if service in ("autoscaling", "s3", "sts") else "ExpiredTokenException"
    return error(service, code, "The security token included in the request is expired", 403)


def _is_caller(pid: int, environ: Environ) -> bool:
    """Return whether a process holds the other end of a request's connection."""
    port = int(environ.get("REMOTE_PORT", 0))
    with suppress(psutil.Error):
        return any(one.laddr.port == port for one in psutil.Process(pid).net_connections("tcp") if one.laddr)
    return False
