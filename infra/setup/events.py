"""The playbook's events, by task and node, and its outcome."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.base.text import one_line
from infra.errors import SetupError

LINES = 12  # of a failed task's output
# Ansible's prefix of the cause.
PREFIX = re.compile(r"^(Task failed: )?(\w[^\n]* (?:over|via) ssh: )?", re.IGNORECASE)

Status = Literal["started", "ok", "changed", "skipped", "ignored", "failed", "unreachable"]


@dataclass(frozen=True)
class Event:
    """An event of one task on one node."""

    node: str
    role: str
    task: str
    status: Status
    after_s: float
    """Seconds since the start of the playbook."""
    message: str = ""
    """Why it failed, or what a task that only prints has to say; otherwise ""."""

    @property
    def told(self) -> list[str]:
        """What the user should know of a task that succeeded."""
        lines = self.message.splitlines() if self.status == "ok" else []
        return [one_line(f"{self.node}: {line}") for line in lines[:LINES]]

    @property
    def title(self) -> str:
        """The task's title."""
        return f"{self.role}: {self.task}" if self.role else self.task


@dataclass(frozen=True)
class Outcome:
    """The outcome of the playbook on one node."""

    node: str
    tasks: int
    """Number of completed tasks, without skipped ones."""
    changed: int
    seconds: float


def read_event(line: Mapping[str, Any], after_s: float) -> Event:
    """Return the event in a line of Ansible's output."""
    message = explain_result(line.get("result", {}))
    if line["status"] == "unreachable":  # the last line of ssh says why
        message = message.rpartition("\n")[2]
    return Event(line["node"], line["role"], line["task"], line["status"], after_s, message)


def explain_result(result: Mapping[str, Any]) -> str:
    """Return why a task failed: its message, then the end of its output."""
    if result.get("argument_errors"):
        return "; ".join(result["argument_errors"])
    if result.get("results"):  # the failed items of a loop
        items = [(str(item.get("item", "")), explain_result(item)) for item in result["results"]]
        return "\n".join(f"{item}: {message}" if item else message for item, message in items)
    message = PREFIX.sub("", str(result.get("msg", "")).strip())
    if message in ("", "non-zero return code") and "rc" in result:
        message = f"exit code {result['rc']}"
    streams = ("stderr", "module_stderr", "stdout", "module_stdout")
    said = next((str(result[name]) for name in streams if result.get(name)), "")
    lines = [line for line in said.strip().splitlines()[-LINES:] if line.strip() not in message]
    return "\n".join([message, *lines]).strip()


def add_up(node: str, events: Sequence[Event]) -> Outcome:
    """Return the outcome on one node."""
    own = [event for event in events if event.node == node]
    done = [event.status for event in own if event.status in ("ok", "changed", "ignored")]
    return Outcome(node, len(done), done.count("changed"), max((event.after_s for event in own), default=0.0))


def explain(events: Sequence[Event], lost: Sequence[str], said: str) -> SetupError:
    """Return the error for the failed nodes; `said` is Ansible's own error output."""
    failures = {event.node: event for event in events if event.status in ("failed", "unreachable")}
    found = [failures[node] for node in lost if node in failures]
    if not found:
        return make_error(f"the playbook failed on {', '.join(lost)}", said)
    first, *others = [make_error(describe_failure(event), event.message) for event in found]
    for other in others:
        for line in (other.what, *getattr(other, "__notes__", [])):
            first.add_note(line)
    return first


def describe_failure(event: Event) -> str:
    """Return which task failed on which node."""
    if event.status == "unreachable":
        return f"lost the connection to {event.node} at '{event.title}'"
    return f"'{event.title}' failed on {event.node}"


def make_error(what: str, said: str) -> SetupError:
    """Return an error with output as printable lines: the first in its message, the others as notes."""
    first, *rest = said.strip().splitlines() or [""]
    error = SetupError(f"{what}: {one_line(first)}" if first else what)
    for line in rest[-LINES:]:
        error.add_note(one_line(line))
    return error
