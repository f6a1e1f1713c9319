"""Notify the user that a job has ended: --notify. A failure is a warning and affects nothing."""

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from cli.notices.jobs import describe_state
from cli.options.declared import personal_option
from cli.terminal import show

if TYPE_CHECKING:
    from infra.model import Job

MOST_S = 10
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
    help="When the job ends: bell, desktop, a URL to POST to, or a shell command; the message is in $MESSAGE.",
)


def notify(how: str | None, cluster: str, job: "Job") -> None:
    """Notify the user that a job has ended; print a warning if that fails."""
    if not how:
        return
    text = show.plain(f"job {job.number} on {cluster} {describe_state(job)}")
    try:
        if how == "bell":
            show.ring()
        elif how == "desktop":
            show_on_desktop(text)
        elif how.startswith(("http://", "https://")):
            facts = {"text": text, "cluster": cluster, "job": job.number, "name": job.name, "state": job.state}
            post(how, {**facts, "exit_code": job.exit_code})
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
