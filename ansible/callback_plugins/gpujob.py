"""Report each Ansible task as a line of JSON, which infra/setup/playbook.py reads.

Ansible loads this file itself; none of our modules import it.
"""

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gpujob
type: stdout
short_description: a line of JSON for each task of each machine
description: Read by gpujob, which displays it.
"""

# Fields of a result that may explain a failure; nothing else is reported.
MOST = 4000  # characters of each: a task may print any amount
PRINTING = ("debug", "ansible.builtin.debug")
TELLING = ("msg", "rc", "stderr", "module_stderr", "stdout", "module_stdout", "argument_errors", "item")


class CallbackModule(CallbackBase):
    """Reports each event as it happens."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "gpujob"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Report the start of a task on a machine."""
        self._report("started", host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Report a successful task, with its message if it is one that only prints."""
        said = result._result if result._task.action in PRINTING else None
        self._report("changed" if result.is_changed() else "ok", result._host, result._task, said)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Report a skipped task."""
        self._report("skipped", result._host, result._task)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Report a failed task, unless failures are ignored."""
        self._report("ignored" if ignore_errors else "failed", result._host, result._task, result._result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Report an unreachable machine."""
        self._report("unreachable", result._host, result._task, result._result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Report the end of the playbook, and the machines that did not finish."""
        ends = {host: stats.summarize(host) for host in sorted(stats.processed)}
        lost = [host for host, end in ends.items() if end["failures"] or end["unreachable"]]
        write({"status": "over", "lost": lost})

    def _report(self, status: str, host: Any, task: Any, result: Any = None) -> None:
        role = task._role.get_name() if task._role else ""
        event = {"status": status, "node": host.get_name(), "role": role, "task": task.name or task.action}
        write(event | ({"result": pick(result)} if result else {}))


def pick(result: Any) -> dict[str, Any]:
    """Return the fields of a result that explain a failure; of a loop, those of failed items."""
    found = {name: cut(result[name]) for name in TELLING if result.get(name)}
    failed = [item for item in result.get("results", []) if isinstance(item, dict) and item.get("failed")]
    return found | ({"results": [pick(item) for item in failed[:3]]} if failed else {})


def cut(value: Any) -> Any:
    """Return a value, with long texts cut to their end and long lists to their first items."""
    if isinstance(value, list):
        return [cut(each) for each in value[:20]]
    return value if isinstance(value, (int, float)) else str(value)[-MOST:]


def write(event: dict[str, Any]) -> None:
    """Write one event; Ansible's own display would wrap it."""
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()
