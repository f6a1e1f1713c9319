"""Work on a sent job: claim one task after the other, and leave once there is none to claim."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Mapping

from ..aws.wire import TakenError
from ..bucket.layout import done_name
from ..identities import BOOT
from ..records import CHUNK_BYTES, AgentError, folder_of, take_lock
from ..removal import remove
from . import group
from .attempts import Outcome, run_attempt
from .claims import FAULTS, LEFT, Claim, Desk
from .progress import MOST_FRUITLESS, follow
from .settings import FOLDER, Place, Sent, open_place, read_sent

MOST_PAUSE_S = 60.0
LEAVING_S, STATE_S = 300.0, 10.0
ENDED = ("succeeded", "failed", "cancelled", "lease")


def work() -> None:
    """Work until this machine has left its group; started by the machine, and again whenever it exits."""
    FOLDER.mkdir(parents=True, mode=0o700, exist_ok=True)
    if take_lock(FOLDER / "lock") is None:
        raise AgentError("the sent job is worked on already")
    place = open_place()
    sent = read_sent(place)
    note_boot(place)
    desk = Desk(place, sent, lambda task, before: {**follow(place, task, before), "number": sent.number})
    signal.signal(signal.SIGTERM, lambda *_: stop(desk))
    with ThreadPoolExecutor(sent.places) as places:
        served = [places.submit(serve, desk) for _ in range(sent.places)]
        while wait(served, sent.times.poll_s).not_done:
            pass  # a thread that waits for others may not hear of a signal
        for each in served:
            each.result()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if desk.leaving:
        return say("this machine shuts down")
    if desk.closed:
        return wait_for_end("AWS takes this machine")
    depart(desk)
    return wait_for_end("this machine has left its group")


def serve(desk: Desk) -> None:
    """Work on one task after the other, until none is left to claim or AWS takes this machine."""
    place, sent = desk.place, desk.sent
    while not desk.closed:
        try:
            claim, pending = desk.choose()
        except FAULTS as error:
            say(f"cannot read which tasks are left: {error}")
            time.sleep(sent.times.pause_s)
            continue
        if claim is None and not pending:
            return
        if claim is None:
            time.sleep(sent.times.poll_s)
            continue
        if not run(place, sent, claim):
            desk.closed = True
        desk.put_back(claim.task)


def stop(desk: Desk) -> None:
    """Handle SIGTERM: end the tasks if the machine shuts down; else end, to be started again."""
    if not is_shutting_down():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    desk.leave()
    timer = threading.Timer(2 * desk.sent.times.stop_s, abandon, [desk])
    timer.daemon = True
    timer.start()


def is_shutting_down() -> bool:
    """Return whether systemd ends all services, and not only this one."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["sudo", "-n", "systemctl", "is-system-running"]
        return subprocess.run(words, stdout=subprocess.PIPE, timeout=STATE_S, check=False).stdout.strip() == b"stopping"
    return False


def abandon(desk: Desk) -> None:
    """Let other machines have the tasks of this one, whatever is not uploaded yet, and exit."""
    try:
        desk.release()
    finally:
        os._exit(0)


def note_boot(place: Place) -> None:
    """Say in the bucket that this machine is there."""
    boot = {"at": time.time(), "boot": BOOT.read_text().strip(), "host": os.uname().nodename}
    place.write(boot, "boots", f"{place.machine}.json")


def run(place: Place, sent: Sent, claim: Claim) -> bool:
    """Run an attempt and conclude it; return whether this machine may go on to another."""
    if place.exists("stop"):
        end(place, claim, {"state": "cancelled", "exit_code": None, "reason": ""})
        return True
    if claim.content["fruitless"] >= MOST_FRUITLESS:
        end(place, claim, give_up(claim))
        return True
    try:
        outcome = run_attempt(place, sent, claim)
    except AgentError as error:  # the request is not one that can be run
        end(place, claim, {"state": "failed", "exit_code": None, "reason": str(error)})
        return True
    except FAULTS as error:
        with contextlib.suppress(*FAULTS):
            claim.release(f"it could not be started: {error}")
        time.sleep(sent.times.pause_s)
        return True
    return conclude(place, sent, claim, outcome)


def conclude(place: Place, sent: Sent, claim: Claim, outcome: Outcome) -> bool:
    """Write how a task ended, or release it for another attempt; return whether this machine may go on."""
    job, kind = outcome.job, outcome.kind
    if kind == "lost":
        claim.close()
        return True
    failures = int(claim.content["failures"])
    if kind == "failed" and failures < sent.retries:
        return let_go(claim, f"it failed with exit code {job['exit_code']}", failures=failures + 1)
    if kind in ENDED:
        reason = "the lease ended before it was done" if kind == "lease" else job["reason"]
        state = "interrupted" if kind == "lease" else kind
        end(
            place,
            claim,
            {
                **{"state": state, "exit_code": job["exit_code"], "reason": reason, "complete": outcome.uploaded},
                **(measure_log(job["number"]) if outcome.uploaded else {}),
            },
            name_done(place, sent, claim, outcome),
        )
        if sent.array and outcome.uploaded:  # a thousand tasks need no room for a thousand projects
            with contextlib.suppress(AgentError):
                remove("--force", str(job["number"]))
        return True
    why = LEFT if claim.leaving else "AWS took the machine" if kind == "preempted" else "the job was interrupted"
    let_go(claim, why)
    return kind != "preempted"


def name_done(place: Place, sent: Sent, claim: Claim, outcome: Outcome) -> str:
    """Return the name that says enough of a task for readers; "" if they have to read it."""
    job = outcome.job
    if not (sent.array and outcome.kind == "succeeded" and outcome.uploaded and job["seconds"] is not None):
        return ""
    return done_name(claim.attempt, job["started_at"], job["seconds"], place.machine)


def measure_log(number: int) -> dict[str, Any]:
    """Return the size and the SHA-256 of a job's log."""
    digest, size_bytes = hashlib.sha256(), 0
    with contextlib.suppress(FileNotFoundError), (folder_of(str(number)) / "log").open("rb") as log:
        for chunk in iter(lambda: log.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            size_bytes += len(chunk)
    return {"log_bytes": size_bytes, "log_sha256": digest.hexdigest()}


def let_go(claim: Claim, why: str, **changes: Any) -> bool:
    """Release a claim; without an answer, it becomes free once it is stale. Returns True."""
    with contextlib.suppress(*FAULTS):
        claim.release(why, **changes)
    return True


def give_up(claim: Claim) -> dict[str, Any]:
    """Return the end of a task whose attempts get nowhere."""
    reason = f"{MOST_FRUITLESS} attempts in a row ended without saving anything new"
    why = claim.content.get("why")
    return {"state": "failed", "exit_code": None, "reason": f"{reason}; the last one: {why}" if why else reason}


def end(place: Place, claim: Claim, about: Mapping[str, Any], done: str = "") -> None:
    """Write how a task ended, unless its claim was lost; tried until the bucket answers.

    Then `done`, a name for listings, if this machine has written the end; readers do without it.
    """
    pause_s = claim.times.pause_s
    while True:
        with contextlib.suppress(*FAULTS):
            if claim.lost or not claim.renew():
                break
            with contextlib.suppress(TakenError):
                place.write(
                    {**about, "attempt": claim.attempt, "ended_at": time.time()},
                    "tasks",
                    claim.task,
                    "end.json",
                    absent=True,
                )
                if done:
                    place.write({}, "tasks", claim.task, done)
            break
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, MOST_PAUSE_S)
    claim.close()


def depart(desk: Desk) -> None:
    """Leave the group with one machine fewer; the one that finds nothing unfinished empties it.

    It is tried until the lease ends.
    """
    pause_s = desk.sent.times.pause_s
    while True:
        try:
            if all(map(desk.has_ended, desk.sent.values)):
                group.empty(desk.place)
            return group.leave(desk.place)
        except (*FAULTS, group.GroupError) as error:
            say(f"cannot leave the group: {error}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, MOST_PAUSE_S)


def wait_for_end(why: str) -> None:
    """Wait until the machine ends; if it does not, its service starts the work again."""
    say(why)
    time.sleep(LEAVING_S)


def say(text: str) -> None:
    """Write a line to the service's log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
