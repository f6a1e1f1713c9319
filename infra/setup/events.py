"""What the playbook tells while it runs, task by task and node by node, and what it comes to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.base.text import one_line
from infra.errors import SetupError

LINES = 12  # of what a failed task printed
# What Ansible puts before the cause.
PREFIX = re.compile(r"^(Task failed: )?(\w[^\n]* (?:over|via) ssh: )?", re.IGNORECASE)

Status = Literal["started", "ok", "changed", "skipped", "ignored", "failed", "unreachable"]


@dataclass(frozen=True)
class Event:
    """Something that happened to one task on one node."""

    node: str
    role: str
    task: str
    status: Status
    after_s: float
    """How long after the playbook began."""
    message: str = ""
    """Why it failed; "" if it did not."""

    @property
    def title(self) -> str:
        """The task as a person reads it."""
        return f"{self.role}: {self.task}" if self.role else self.task


@dataclass(frozen=True)
class Outcome:
    """How the playbook went on one node."""

    node: str
    tasks: int
    """How many ran to their end, the skipped ones not counted."""
    changed: int
    seconds: float


def read_event(line: Mapping[str, Any], after_s: float) -> Event:
    """Return the event that a line of Ansible's tells of."""
    message = explain_result(line.get("result", {}))
    if line["status"] == "unreachable":  # ssh says last why
        message = message.rpartition("\n")[2]
    return Event(line["node"], line["role"], line["task"], line["status"], after_s, message)


def explain_result(result: Mapping[str, Any]) -> str:
    """Return why a task failed: its own words, then what it printed last."""
    if result.get("argument_errors"):
        return "; ".join(result["argument_errors"])
    if result.get("results"):  # of a loop, the items that failed
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
    """Return how it went on one node."""
    own = [event for event in events if event.node == node]
    done = [event.status for event in own if event.status in ("ok", "changed", "ignored")]
    return Outcome(node, len(done), done.count("changed"), max((event.after_s for event in own), default=0.0))


def explain(events: Sequence[Event], lost: Sequence[str], said: str) -> SetupError:
    """Return the error that tells what failed on the nodes that were lost; `said` is what Ansible itself complained of."""
    failures = {event.node: event for event in events if event.status in ("failed", "unreachable")}
    found = [failures[node] for node in lost if node in failures]
    if not found:
        return make_error(f"the playbook failed on {', '.join(lost)}", said)
    first, *others = [make_error(tell_failure(event), event.message) for event in found]
    for other in others:
        for line in (other.what, *getattr(other, "__notes__", [])):
            first.add_note(line)
    return first


def tell_failure(event: Event) -> str:
    """Return what failed where."""
    if event.status == "unreachable":
        return f"{event.node} was lost at '{event.title}'"
    return f"'{event.title}' failed on {event.node}"


def make_error(what: str, said: str) -> SetupError:
    """Return an error with what was said, as printable lines: the first in the error's own, the others as notes."""
    first, *rest = said.strip().splitlines() or [""]
    error = SetupError(f"{what}: {one_line(first)}" if first else what)
    for line in rest[-LINES:]:
        error.add_note(one_line(line))
    return error
