"""Notify the user that a job has ended, or that a lease soon will; a failure is only a warning."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.facts.times import instant
from cli.notices.jobs import describe_state
from cli.options.declared import personal_option
from cli.terminal import formats, show
from infra.ledger.known_clusters import recall

if TYPE_CHECKING:
    from infra.model import Cluster, Job

MOST_S = 10
BEFORE_END_S = 600.0
"""How long before the end of a lease the user is notified."""
LOOK_EVERY_S = 30.0
# On macOS, the text is an argument of the script, never part of it.
OSASCRIPT = [
    "osascript",
    "-e",
    "on run argv",
    "-e",
    'display notification (item 1 of argv) with title "gpujob"',
    "-e",
    "end run",
]
notify_option = personal_option(
    "--notify",
    metavar="HOW",
    help="When the job ends, and 10 minutes before the lease does: bell, desktop, a URL to POST to, or a shell command;"
    " the message is in $MESSAGE.",
)


def notify(how: str | None, cluster: str, job: "Job") -> None:
    """Notify the user that a job has ended; print a warning if that fails."""
    if not how:
        return
    facts = {"cluster": cluster, "job": job.number, "name": job.name, "state": job.state, "exit_code": job.exit_code}
    send(how, show.plain(f"job {job.number} on {cluster} {describe_state(job)}"), facts)


@contextmanager
def watching_lease(how: str | None, cluster: "Cluster") -> Iterator[None]:
    """Notify the user before the lease ends, while the caller follows a job."""
    if not how:
        yield
        return
    done = threading.Event()
    extend = show.complete(f"gpujob extend {cluster.name} 2h")

    def watch() -> None:
        told = 0.0
        while not done.wait(LOOK_EVERY_S if told else 0):
            until = (recall(cluster.name) or cluster).lease_until
            left_s = until - time.time()
            if left_s > BEFORE_END_S:
                told = 0.0
                if done.wait(min(left_s - BEFORE_END_S, LOOK_EVERY_S)):
                    return
            elif told != until:
                told = until
                text = f"the lease of {cluster.name} ends at {formats.soon(until)}, and its jobs with it. Extend it: {extend}"
                send(how, text, {"cluster": cluster.name, "lease_until": instant(until)})

    thread = threading.Thread(target=watch, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def send(how: str, text: str, facts: dict[str, object]) -> None:
    """Send a message as the user wants it, a URL with these facts; print a warning if that fails."""
    try:
        if how == "bell":
            show.ring()
        elif how == "desktop":
            show_on_desktop(text)
        elif how.startswith(("http://", "https://")):
            post(how, {"text": text, **facts})
        else:
            run_command(how, text)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        show.say(f"warning: --notify failed: {error}")


def show_on_desktop(text: str) -> None:
    """Show a notification on the desktop; raises OSError if no program for it is installed."""
    commands = (["notify-send", "gpujob", text], [*OSASCRIPT, text])
    command = next((one for one in commands if shutil.which(one[0])), None)
    if command is None:
        raise OSError("neither notify-send nor osascript is installed")
    subprocess.run(command, check=True, timeout=MOST_S, stdin=subprocess.DEVNULL, capture_output=True)


def run_command(command: str, text: str) -> None:
    """Run a shell command; its output goes to stderr, separate from the job's."""
    environment = {**os.environ, "MESSAGE": text}
    subprocess.run(  # only the user can set this command: `personal_option`
        ["/bin/sh", "-c", command], check=True, timeout=MOST_S, env=environment, stdin=subprocess.DEVNULL, stdout=2
    )


def post(url: str, facts: dict[str, object]) -> None:
    """Send facts as JSON to a URL."""
    # imported only when needed: `run` must start fast
    import urllib.request
    from http.client import HTTPException

    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(facts).encode(), headers)  # noqa: S310  `notify` checks the scheme
    try:
        with urllib.request.urlopen(request, timeout=MOST_S):  # noqa: S310
            pass
    except HTTPException as error:
        raise OSError(f"invalid URL or response: {error}") from error
